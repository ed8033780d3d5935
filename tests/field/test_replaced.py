"""Outputs of one video are not lost to another of the same id, nor to a try that failed."""

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.field_films import Films, Run
from support.samples import everything

from raymaskdp.anonymize import anonymize
from raymaskdp.anonymize.output import ownership
from raymaskdp.anonymize.output.manifest import read_manifest, unpublish, write_manifest
from raymaskdp.errors import UserError
from raymaskdp.train import PrepareConfig, prepare

REPLACED = "would replace it"
SIZE = PrepareConfig(width=32, height=24, token=2)


def test_what_is_typed_from_another_folder_is_another_video(
    films: Films, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    films.put(tmp_path / "p1/a.mp4", tmp_path / "p2/a.mp4")
    monkeypatch.chdir(tmp_path / "p1")
    run("a.mp4", Path("../out"))
    assert read_manifest(tmp_path / "out")["a"].source == str(tmp_path / "p1/a.mp4")
    before = everything(tmp_path / "out")
    monkeypatch.chdir(tmp_path / "p2")
    for typed in ("a.mp4", "./a.mp4", os.path.abspath("a.mp4")):
        with pytest.raises(UserError, match=REPLACED):
            run(typed, Path("../out"))
    assert everything(tmp_path / "out") == before


@pytest.mark.parametrize("lost", ["nothing", "the manifest", "the source", "both"])
def test_another_film_of_the_same_name_never_replaces_files(
    lost: str, films: Films, run: Run, tmp_path: Path
) -> None:
    """Wherever the first one is now, and whether or not the table knows of it."""
    films.put(tmp_path / "p1/a.mp4", tmp_path / "p2/a.mp4")
    out = tmp_path / "out"
    run(tmp_path / "p1", out)
    if lost in ("the manifest", "both"):
        (out / "manifest.parquet").unlink()
    if lost in ("the source", "both"):
        shutil.rmtree(tmp_path / "p1")
    before = everything(out)
    with pytest.raises(UserError, match=rf"the id a is of .*p1/a\.mp4, and .*p2/a\.mp4 {REPLACED}"):
        run(tmp_path / "p2", out)
    assert everything(out) == before


def test_a_film_that_changed_where_it_is_replaces_its_own(films: Films, run: Run, tmp_path: Path) -> None:
    """After it was moved, too; and a claim that a killed run left of it hinders nobody but others."""
    films.put(tmp_path / "p1/a.mp4", tmp_path / "p3/a.mp4")
    out = tmp_path / "out"
    run(tmp_path / "p1", out)
    (tmp_path / "p1").rename(tmp_path / "p2")
    assert run(tmp_path / "p2", out).reused == 1
    shutil.copy(films.b, tmp_path / "p2/a.mp4")
    assert run(tmp_path / "p2", out).done == 1
    (row,) = read_manifest(out).values()
    made_from = {"config_sha256": "c", "source": row.source, "source_sha256": row.source_sha256}
    ownership.claim(out, "a", made_from, {})
    (out / "manifest.parquet").unlink()
    shutil.copy(films.a, tmp_path / "p3/a.mp4")
    with pytest.raises(UserError, match=REPLACED):
        run(tmp_path / "p3", out)
    shutil.copy(films.a, tmp_path / "p2/a.mp4")
    assert run(tmp_path / "p2", out).done == 1


def test_finished_videos_that_are_in_no_manifest_are_taken_into_it(
    films: Films, run: Run, tmp_path: Path
) -> None:
    """As of a run that was killed; files of the user's are none."""
    films.put(tmp_path / "videos/a.mp4", tmp_path / "videos/b.mp4")
    out = tmp_path / "out"
    run(tmp_path / "videos", out)
    before = read_manifest(out)
    (out / "manifest.parquet").unlink()
    for name in ("mine.json", "mine.mp4", "mine.avatar.mp4", "mine.npz"):
        (out / name).write_text('{"row": {}, "outputs": {}}')
    again = run(tmp_path / "videos/b.mp4", out)
    assert "2 finished before, but missing in the manifest: a, b; now added" in str(again)
    after = {
        name: dataclasses.replace(row, seconds=before[name].seconds)
        for name, row in read_manifest(out).items()
    }
    assert after == before  # their provenance is from before the last second
    assert "no manifest" not in str(run(tmp_path / "videos", out))


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def without(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("spoil", [cut_short, without])
def test_a_try_that_failed_takes_back_nothing(
    spoil: Callable[[Path], None], films: Films, run: Run, tmp_path: Path
) -> None:
    """The folder of the sources may not be mounted. The run says that it failed, and what stays."""
    films.put(tmp_path / "videos/a.mp4", tmp_path / "videos/b.mp4")
    (tmp_path / "list.csv").write_text("path,video_id\nvideos/a.mp4,a\nvideos/b.mp4,b\n")
    out = tmp_path / "out"
    run(tmp_path / "list.csv", out)
    rows, before = read_manifest(out), everything(out)
    spoil(tmp_path / "videos/a.mp4")
    for _ in range(2):
        result = run(tmp_path / "list.csv", out)
        assert (result.done, result.failed, result.reused) == (1, 1, 1)
        assert result.rows[0].status == "failed"
        assert "1 failed now and stay done, with its files, from an earlier run: a" in str(result)
        after = everything(out)
        assert {name for name in before | after if before.get(name) != after.get(name)} <= {
            "manifest.parquet"
        }
        assert read_manifest(out)["a"] == rows["a"]
    assert prepare(out, tmp_path / "clips", SIZE).videos == 2


def test_a_fault_of_the_machine_takes_back_nothing(films: Films, run: Run, tmp_path: Path) -> None:
    """While it worked with other settings. A quarantined video can still be reviewed."""
    films.put(tmp_path / "videos/a.mp4", tmp_path / "videos/b.mp4")
    out = tmp_path / "out"
    run(tmp_path / "videos", out)
    rows = read_manifest(out)
    held = dataclasses.replace(rows["b"], status="quarantined", reason="x", path=None)
    unpublish(out, "b")
    write_manifest(out, [rows["a"], held])
    broken = dataclasses.replace(films.settings.pose, skeletons=tmp_path / "none")
    broken.skeletons.mkdir()
    result = anonymize(
        tmp_path / "videos", out, dataclasses.replace(films.settings, pose=broken), progress=False
    )
    assert result.failed == 2, str(result)
    assert "1 failed now and stay quarantined, held back" in str(result)
    assert read_manifest(out) == {"a": rows["a"], "b": held}
    assert (out / "a.mp4").is_file()


def test_a_failure_without_an_earlier_verdict_is_one(films: Films, run: Run, tmp_path: Path) -> None:
    films.put(tmp_path / "videos/a.mp4")
    cut_short(tmp_path / "videos/a.mp4")
    result = run(tmp_path / "videos", tmp_path / "out")
    assert (result.failed, result.notes) == (1, ())
    assert read_manifest(tmp_path / "out")["a"].status == "failed"


def test_prepare_replaces_no_store_of_other_videos(films: Films, tmp_path: Path) -> None:
    """Of other names, or of other content; a set may grow, shrink, and get other labels."""
    films.put(tmp_path / "one/a.mp4", tmp_path / "one/b.mp4", tmp_path / "one/x.mp4")
    (tmp_path / "other").mkdir()
    shutil.copy(films.b, tmp_path / "other/a.mp4")
    (tmp_path / "names").mkdir()
    shutil.copy(films.a, tmp_path / "names/new.mp4")
    clips = tmp_path / "clips"
    prepare(tmp_path / "one", clips, SIZE)
    before = everything(clips)
    for name in ("other", "names"):
        with pytest.raises(UserError, match="is a clip store of other videos, which this would replace"):
            prepare(tmp_path / name, clips, SIZE)
    assert everything(clips) == before
    (tmp_path / "list.csv").write_text("path,video_id,label\none/a.mp4,a,wave\n")
    assert prepare(tmp_path / "list.csv", clips, SIZE).videos == 1
    assert prepare(tmp_path / "one", clips, SIZE).videos == 3
    about = json.loads((clips / "clips/a.json").read_text())
    del about["content"]  # as earlier versions wrote it
    (clips / "clips/a.json").write_text(json.dumps(about))
    assert prepare(tmp_path / "other", clips, SIZE).videos == 1
