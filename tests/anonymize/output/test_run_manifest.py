"""Resume looks at content: finished work is kept, and anything that changed is done again."""

import dataclasses
import json
from fractions import Fraction
from pathlib import Path

import pandas as pd
import pytest
from tqdm import tqdm

from raymaskdp.anonymize import run
from raymaskdp.anonymize.item import Decided, Pending
from raymaskdp.anonymize.object_store import PreviousRun
from raymaskdp.anonymize.output.manifest import (
    MANIFEST,
    Row,
    RunFacts,
    last_run,
    publish,
    read_manifest,
    row_of,
    unpublish,
    write_manifest,
)
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.errors import UserError
from raymaskdp.files import sha256_file
from raymaskdp.video.reader import VideoInfo

CONFIG = "c" * 64


def decided(folder: Path, status: str, **changes: object) -> Decided:
    """An item with a source file, decided as `status`."""
    source = folder / "source.mp4"
    if not source.exists():
        source.write_bytes(b"the source")
    record = VideoRecord(video_id="a", path=str(source), label="wave", subject="s1", split="train")
    item = Decided(
        record=record,
        status=status,  # type: ignore[arg-type]
        reasons=() if status == "done" else ("nobody was found",),
        source_sha256=sha256_file(source),
        info=VideoInfo(width=64, height=48, fps=Fraction(25), num_frames=5),
        num_people=1,
        metrics={"background_psnr": 41.5},
    )
    return dataclasses.replace(item, **changes)  # type: ignore[arg-type]


def published(folder: Path) -> tuple[Path, Decided]:
    """A finished video in an output folder."""
    out, work = folder / "out", folder / "work"
    out.mkdir()
    work.mkdir()
    for suffix in (".mp4", ".avatar.mp4", ".npz"):
        (work / f"a{suffix}").write_bytes(b"content of " + suffix.encode())
    digests = {path.name: sha256_file(path) for path in work.iterdir()}
    item = decided(folder, "done", outputs=digests)
    publish(work, out, item, CONFIG, {"people": [1] * 5})
    return out, item


def finished(out: Path, record: VideoRecord, old: Row | None, config_sha256: str) -> Row | None:
    return PreviousRun(out, [record]).finished(record, old, config_sha256)


def test_what_is_published_is_complete_and_finished(tmp_path: Path) -> None:
    out, item = published(tmp_path)
    assert sorted(p.name for p in out.iterdir()) == ["a.avatar.mp4", "a.json", "a.mp4", "a.npz"]
    provenance = json.loads((out / "a.json").read_text())
    assert provenance["verdict"] == "done"
    assert provenance["reasons"] == []
    assert provenance["source_sha256"] == item.source_sha256
    assert provenance["versions"]["raymaskdp"]
    row = finished(out, item.record, None, CONFIG)  # even if the manifest was lost
    assert row == row_of(item, CONFIG)
    assert row.path == "a.mp4"


@pytest.mark.parametrize("name", ["a.mp4", "a.avatar.mp4", "a.npz"])
@pytest.mark.parametrize("damage", ["gone", "changed", "short"])
def test_damage_is_noticed(tmp_path: Path, name: str, damage: str) -> None:
    out, item = published(tmp_path)
    path = out / name
    if damage == "gone":
        path.unlink()
    elif damage == "changed":
        path.write_bytes(b"C" + path.read_bytes()[1:])
    else:
        path.write_bytes(path.read_bytes()[:-1])
    assert finished(out, item.record, row_of(item, CONFIG), CONFIG) is None


def test_torn_provenance_is_not_trusted(tmp_path: Path) -> None:
    out, item = published(tmp_path)
    (out / "a.json").write_text('{"row": {')
    assert finished(out, item.record, row_of(item, CONFIG), CONFIG) is None


def test_other_source_configuration_or_subject_is_done_again(tmp_path: Path) -> None:
    out, item = published(tmp_path)
    assert finished(out, item.record, None, "d" * 64) is None
    assert finished(out, dataclasses.replace(item.record, subject="s2"), None, CONFIG) is None
    Path(item.record.path).write_bytes(b"another source")
    assert finished(out, item.record, None, CONFIG) is None
    Path(item.record.path).unlink()
    assert finished(out, item.record, None, CONFIG) is None


def test_a_new_label_needs_no_new_video(tmp_path: Path) -> None:
    out, item = published(tmp_path)
    row = finished(out, dataclasses.replace(item.record, label="clap", split="test"), None, CONFIG)
    assert row is not None
    assert (row.label, row.split) == ("clap", "test")


def test_quarantine_is_kept_and_failure_is_tried_again(tmp_path: Path) -> None:
    quarantined, failure = decided(tmp_path, "quarantined"), decided(tmp_path, "failed")
    out = tmp_path / "out"
    out.mkdir()
    assert finished(out, quarantined.record, row_of(quarantined, CONFIG), CONFIG) is not None
    assert finished(out, failure.record, row_of(failure, CONFIG), CONFIG) is None


def test_withdrawn_videos_leave_nothing(tmp_path: Path) -> None:
    out, _ = published(tmp_path)
    unpublish(out, "a")
    assert list(out.iterdir()) == []
    unpublish(out, "a")


def test_manifest_round_trip(tmp_path: Path) -> None:
    done = row_of(decided(tmp_path, "done"), CONFIG)
    failure = row_of(decided(tmp_path, "failed", info=None), CONFIG)
    failure = dataclasses.replace(failure, video_id="b", label=None, subject=None)
    write_manifest(tmp_path, [failure, done])
    assert read_manifest(tmp_path) == {"a": done, "b": failure}
    assert list(read_manifest(tmp_path)) == ["a", "b"]
    assert read_manifest(tmp_path / "elsewhere") == {}


def test_a_manifest_says_how_the_last_run_got_on(tmp_path: Path) -> None:
    """Two workers for ten minutes, half of the videos; a run that decides nothing leaves that as it is."""
    facts = RunFacts(seconds=600, working=1200, decided=5, waiting=5)
    write_manifest(tmp_path, [], facts)
    write_manifest(tmp_path, [])
    assert last_run(pd.read_parquet(tmp_path / MANIFEST)) == facts
    assert "2 active workers on average; 5 are waiting, for about 10.0 minutes" in str(facts)
    assert last_run(pd.DataFrame()) is None


def test_foreign_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.parquet").write_text("not a table")
    with pytest.raises(UserError, match="another output folder"):
        read_manifest(tmp_path)


def test_columns_are_those_of_the_contract() -> None:
    assert [field.name for field in dataclasses.fields(Row)] == [
        "video_id", "source", "path", "label", "split", "subject", "camera", "status", "reason",
        "num_frames", "width", "height", "fps", "num_people", "seconds", "source_sha256",
        "config_sha256", "metrics",
    ]  # fmt: skip


def test_whatever_does_not_pass_any_more_is_withdrawn(tmp_path: Path) -> None:
    """At whichever stage that was decided; a pending video has no verdict yet, and to fail is none."""
    out, _ = published(tmp_path)
    rows: dict[str, Row] = {}
    run._collect([Pending(record=decided(tmp_path, "done").record)], 1, rows, out, CONFIG, tqdm(disable=True))
    assert not rows
    assert (out / "a.mp4").exists()
    in_vain = run._collect([decided(tmp_path, "failed")], 1, rows, out, CONFIG, tqdm(disable=True))
    assert (in_vain["a"].status, rows["a"].status) == ("failed", "done")
    assert (out / "a.mp4").exists()
    assert not run._collect([decided(tmp_path, "quarantined")], 1, rows, out, CONFIG, tqdm(disable=True))
    assert rows["a"].status == "quarantined"
    assert [path.name for path in out.iterdir()] == ["manifest.parquet"]
