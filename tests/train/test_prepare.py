"""The clip store, from real videos in the anonymizer's format."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from object_store import BUCKET, served
from support.samples import ACTIONS, FRAMES, HEIGHT, WIDTH, write_anonymized, write_provenance

from raymaskdp import storage
from raymaskdp.errors import UserError
from raymaskdp.files import MADE
from raymaskdp.train import ClipStore, PrepareConfig, prepare
from raymaskdp.train.data import views
from raymaskdp.video import masks
from raymaskdp.video.reader import stream
from raymaskdp.video.writer import VideoWriter

SIZE = PrepareConfig(width=32, height=24, token=2)


@pytest.fixture(scope="module")
def anonymized(tmp_path_factory) -> Path:
    return write_anonymized(tmp_path_factory.mktemp("anonymized"), train=4, test=2)


@pytest.fixture
def own(anonymized, tmp_path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(anonymized, tmp_path / "anonymized"))


def rewrite(path: Path, change, *, lossless: bool) -> None:
    frames = [change(frame) for frame in stream(path)]
    with VideoWriter(path, width=WIDTH, height=HEIGHT, fps=12, lossless=lossless) as writer:
        for frame in frames:
            writer.write(frame)


def vouch(folder: Path, name: str) -> None:
    """As if the video had been anonymized so."""
    write_provenance(folder, json.loads((folder / f"{name}.json").read_text())["row"])


def everything(store: ClipStore) -> list[tuple[np.ndarray, np.ndarray]]:
    return [store.read(video.index, np.arange(video.num_frames)) for video in store.videos]


def test_store_holds_what_the_manifest_says(anonymized, tmp_path) -> None:
    result = prepare(anonymized, tmp_path / "clips", SIZE)
    store = ClipStore.open(tmp_path / "clips")
    assert (result.videos, result.reused, result.left_out, result.failed) == (6, 0, 1, {})
    assert store.classes == tuple(sorted(ACTIONS))
    assert [v.split for v in store.videos] == ["train"] * 4 + ["test"] * 2
    assert "hidden" not in {v.video_id for v in store.videos}
    assert store.fingerprint == result.fingerprint
    for video, (frames, sensitive) in zip(store.videos, everything(store), strict=True):
        assert frames.shape == (FRAMES, 24, 32, 3)
        assert 0 < sensitive.mean() < 1
        assert np.isclose(sensitive.mean(), video.sensitive)


def test_tokens_are_public_only_where_every_source_pixel_is_avatar(anonymized, tmp_path) -> None:
    prepare(anonymized, tmp_path / "clips", SIZE)
    store = ClipStore.open(tmp_path / "clips")
    side = 3 * SIZE.token  # 96 / 32 source pixels a pixel
    for video, (frames, sensitive) in zip(store.videos, everything(store), strict=True):
        with np.load(anonymized / f"{video.video_id}.npz") as arrays:
            inside = masks.unpack(arrays["avatar_masks"], HEIGHT, WIDTH)
        layer = np.stack(list(stream(anonymized / f"{video.video_id}.avatar.mp4"))).astype(float)
        for time in range(0, FRAMES, 5):
            for row in range(24 // SIZE.token):
                for column in range(32 // SIZE.token):
                    box = (slice(row * side, (row + 1) * side), slice(column * side, (column + 1) * side))
                    token = (slice(row * 2, row * 2 + 2), slice(column * 2, column * 2 + 2))
                    assert sensitive[time][token].all() == (not inside[time][box].all())
                    if inside[time][box].all():
                        blocks = layer[time][box].reshape(2, 3, 2, 3, 3).mean(axis=(1, 3))
                        np.testing.assert_allclose(frames[time][token], blocks, atol=0.51)


def test_the_composite_never_reaches_the_public_view(own, tmp_path) -> None:
    """Another background, blended through the avatar too, leaves every public bit as it was."""
    prepare(own, tmp_path / "before", SIZE)
    for video in own.glob("v???.mp4"):
        rewrite(video, lambda frame: 255 - frame, lossless=False)
        vouch(own, video.stem)
    prepare(own, tmp_path / "after", SIZE)
    before, after = (everything(ClipStore.open(tmp_path / name)) for name in ("before", "after"))
    for (frames, sensitive), (others, also_sensitive) in zip(before, after, strict=True):
        np.testing.assert_array_equal(sensitive, also_sensitive)
        public = views.public_view(frames, sensitive, 128)
        assert public.tobytes() == views.public_view(others, sensitive, 128).tobytes()
        assert (frames[sensitive] != others[sensitive]).any()


def test_preparing_again_redoes_only_what_changed(own, tmp_path) -> None:
    first = prepare(own, tmp_path / "clips", SIZE)
    (tmp_path / "clips/clips/v001.json").unlink()  # as if killed before this video was complete
    damaged = tmp_path / "clips/clips/v002.frames.npy"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\0")
    second = prepare(own, tmp_path / "clips", SIZE)
    assert second.reused == 4
    assert second.fingerprint == first.fingerprint
    with pytest.raises(UserError, match="other settings"):
        prepare(own, tmp_path / "clips", PrepareConfig(width=64, height=48))


def test_a_bad_video_costs_itself(own, tmp_path) -> None:
    (own / "v000.mp4").unlink()
    (own / "v001.avatar.mp4").write_bytes(b"")
    with VideoWriter(own / "v002.avatar.mp4", width=WIDTH, height=HEIGHT, fps=12, lossless=True) as writer:
        writer.write(np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8))
    (own / "v003.npz").write_bytes(b"not an archive")
    with VideoWriter(own / "v004.mp4", width=WIDTH, height=HEIGHT, fps=12) as writer:
        writer.write(np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8))
    vouch(own, "v004")
    result = prepare(own, tmp_path / "clips", SIZE)
    assert result.videos == 1
    assert set(result.failed) == {"v000", "v001", "v002", "v003", "v004"}
    assert "v002.avatar.mp4 is not the file that anonymize wrote for v002" in result.failed["v002"]
    assert "differ in size or length" in result.failed["v004"]


def test_plain_videos_are_all_sensitive(anonymized, tmp_path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    shutil.copy(anonymized / "v000.mp4", plain / "one.mp4")
    result = prepare(plain, tmp_path / "clips", SIZE)
    (frames, sensitive), *_ = everything(ClipStore.open(tmp_path / "clips"))
    assert result.sensitive == 1
    assert sensitive.all()
    assert frames.std() > 10


def test_what_cannot_be_prepared_is_said_in_one_sentence(tmp_path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        prepare(tmp_path / "nowhere", tmp_path / "clips")
    with pytest.raises(UserError, match="multiples of token"):
        PrepareConfig(width=63, token=2)
    with pytest.raises(UserError, match="not a clip store"):
        ClipStore.open(tmp_path)


def contents(folder: Path) -> dict[str, bytes]:
    """Files by name; of a store's description all but its name, which is drawn."""
    found = {
        str(p.relative_to(folder)): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and p.name not in (MADE, ".lock")
    }
    about = json.loads(found["store.json"])
    del about["name"]
    return {**found, "store.json": json.dumps(about).encode()}


@pytest.mark.slow
@pytest.mark.cluster
def test_ray_data_prepares_the_same_store_and_goes_on_with_it(ray_session, own, tmp_path) -> None:
    (own / "v003.npz").write_bytes(b"not an archive")
    here = prepare(own, tmp_path / "here", SIZE)
    there = prepare(own, tmp_path / "there", SIZE, workers=2)
    assert contents(tmp_path / "there") == contents(tmp_path / "here")
    assert there == replace(here, store=there.store)
    (tmp_path / "there/clips/v001.json").unlink()
    assert prepare(own, tmp_path / "there", SIZE, workers=2).reused == 4
    assert contents(tmp_path / "there") == contents(tmp_path / "here")


def test_anonymized_videos_and_clips_may_lie_on_an_object_store(anonymized, tmp_path, monkeypatch) -> None:
    """The same store as on disk; fetched and checked before it is read, and then not again."""
    monkeypatch.setenv("RAYMASKDP_CACHE", str(tmp_path / "cache"))
    local = prepare(anonymized, tmp_path / "clips", SIZE)
    with served():
        for path in anonymized.iterdir():
            storage.publish(path, f"{BUCKET}/anonymized/{path.name}")
        url = f"{BUCKET}/clips"
        assert prepare(f"{BUCKET}/anonymized", url, SIZE).fingerprint == local.fingerprint
        names = storage.versions(url)
        assert names.keys() == contents(tmp_path / "clips").keys()
        storage.remove(f"{url}/clips/v002.masks.npy")
        assert prepare(f"{BUCKET}/anonymized", url, SIZE).reused == 5
        with pytest.raises(UserError, match="other settings"):
            prepare(f"{BUCKET}/anonymized", url, PrepareConfig(width=64, height=48))
        with pytest.raises(UserError, match="is not a clip store"):
            ClipStore.open(f"{BUCKET}/anonymized")
        store, disk = ClipStore.open(url), ClipStore.open(tmp_path / "clips")
        store.fetch(store.split("train"))
        storage.write(f"{url}/clips/v004.frames.npy", b"damaged")
        with pytest.raises(UserError, match=r"v004.frames.npy is not what was prepared"):
            store.fetch(store.split("test"))
    store.fetch(store.split("train"))  # nothing to fetch: the server is gone
    for video in store.split("train"):
        times = np.array([3, 0, 11])
        for fetched, stored in zip(
            store.read(video.index, times), disk.read(video.index, times), strict=True
        ):
            np.testing.assert_array_equal(fetched, stored)
