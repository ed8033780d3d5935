"""The controls: nothing of the people is left, or nothing sharp; and the rest is as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.samples import HEIGHT, WIDTH, write_anonymized, write_provenance

from raymaskdp.errors import UserError
from raymaskdp.files import sha256_file
from raymaskdp.train import ClipStore, PrepareConfig, prepare
from raymaskdp.train.data.positive_controls import with_blurred_people, without_people
from raymaskdp.video import masks
from raymaskdp.video.writer import VideoWriter

ROWS, COLUMNS = np.mgrid[:HEIGHT, :WIDTH]
ROOM = np.stack([ROWS * 2, COLUMNS * 2, 255 - ROWS - COLUMNS], axis=-1).astype(np.uint8)


@pytest.fixture(scope="module")
def anonymized(tmp_path_factory) -> Path:
    """Sources with a red chequered person in a smooth room, where the anonymizer's masks say."""
    folder = tmp_path_factory.mktemp("data")
    write_anonymized(folder / "anonymized", train=3, test=1)
    table = pd.read_parquet(folder / "anonymized/manifest.parquet")
    table["source"] = [str(folder / f"{name}.mp4") for name in table["video_id"]]
    table.to_parquet(folder / "anonymized/manifest.parquet")
    person = np.where(((ROWS // 3 + COLUMNS // 3) % 2)[..., None], [255, 0, 0], [90, 0, 0]).astype(np.uint8)
    for row in table[table["status"] == "done"].itertuples():
        with VideoWriter(row.source, width=WIDTH, height=HEIGHT, fps=12, lossless=True) as writer:
            for inside in people_of(folder / "anonymized", row.video_id):
                writer.write(np.where(inside[..., None], person, ROOM))
    digests = {
        name: sha256_file(path)
        for name, path in zip(table.video_id, table.source, strict=True)
        if Path(path).is_file()
    }
    table["source_sha256"] = [digests.get(name, "") for name in table["video_id"]]
    table.to_parquet(folder / "anonymized/manifest.parquet")
    for row in table[table["status"] == "done"].to_dict("records"):
        write_provenance(folder / "anonymized", row)
    return folder / "anonymized"


def people_of(folder: Path, name: str) -> np.ndarray:
    with np.load(folder / f"{name}.npz") as arrays:
        return masks.unpack(arrays["person_masks"], HEIGHT, WIDTH)


def store_of(anonymized: Path, out: Path, people: str) -> ClipStore:
    result = prepare(anonymized, out, PrepareConfig(width=WIDTH, height=HEIGHT, people=people))
    assert (result.failed, result.videos, result.sensitive) == ({}, 4, 1.0)
    return ClipStore.open(out)


def test_people_are_removed(anonymized, tmp_path) -> None:
    store = store_of(anonymized, tmp_path / "clips", "removed")
    for video in store.videos:
        frames, sensitive = store.read(video.index, np.arange(video.num_frames))
        people = people_of(anonymized, video.video_id)
        assert sensitive.all()
        assert not video.anonymized
        difference = np.abs(frames.astype(int) - ROOM)
        assert difference[~people].max() <= 6  # coding
        # Where the room was seen it is there; where a person stood all the time it is filled in smoothly.
        seen = ~people.all(axis=0)
        assert difference[:, seen].max() <= 6
        assert difference[people].mean() < 12


def test_people_are_blurred(anonymized, tmp_path) -> None:
    store = store_of(anonymized, tmp_path / "clips", "blurred")
    for video in store.videos:
        frames, _ = store.read(video.index, np.arange(video.num_frames))
        people = people_of(anonymized, video.video_id)
        assert np.abs(frames.astype(int) - ROOM)[~people].max() <= 6
        steps = np.abs(np.diff(frames[..., 0].astype(int), axis=2))
        assert steps[people[:, :, 1:] & people[:, :, :-1]].max() < 15  # the chequers had 165


def test_what_stands_in_a_mask_is_gone() -> None:
    """A removed person's pixels have no influence, and a blurred one's leave the mask alone."""
    rng = np.random.default_rng(0)
    people = rng.random((6, 20, 30)) < 0.4
    frames = rng.integers(0, 256, (6, 20, 30, 3), dtype=np.uint8)
    other = np.where(people[..., None], 255 - frames, frames)
    np.testing.assert_array_equal(without_people(frames, people), without_people(other, people))
    np.testing.assert_array_equal(with_blurred_people(frames, people)[~people], frames[~people])
    everywhere = np.ones_like(people)
    np.testing.assert_array_equal(without_people(frames, everywhere), without_people(other, everywhere))


def test_plain_videos_have_no_controls(anonymized, tmp_path) -> None:
    with pytest.raises(UserError, match="prepare an output folder of anonymize"):
        prepare(anonymized.parent / "v000.mp4", tmp_path / "clips", PrepareConfig(people="removed"))


def test_sources_have_to_be_those_of_the_masks(anonymized, tmp_path) -> None:
    table = pd.read_parquet(anonymized / "manifest.parquet")
    source = Path(table["source"][0])
    before = source.read_bytes()
    with VideoWriter(source, width=WIDTH, height=HEIGHT, fps=12) as writer:
        writer.write(ROOM)
    settings = PrepareConfig(width=WIDTH, height=HEIGHT, people="blurred")
    failed = prepare(anonymized, tmp_path / "clips", settings).failed
    source.write_bytes(before)
    assert list(failed) == ["v000"]
    assert "is not the video that was anonymized" in failed["v000"]
