"""Outputs of one video are not lost to another of the same id, nor to a try that failed."""

import dataclasses
import os
import shutil
from pathlib import Path

import pytest
from support.field_films import Films, Run
from support.samples import everything

from raymaskdp.anonymize.output import ownership
from raymaskdp.anonymize.output.manifest import read_manifest
from raymaskdp.errors import UserError

REPLACED = "would replace it"


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
    assert "2 finished before, but in no manifest: a, b; now they are in it" in str(again)
    after = {
        name: dataclasses.replace(row, seconds=before[name].seconds)
        for name, row in read_manifest(out).items()
    }
    assert after == before  # their provenance is from before the last second
    assert "no manifest" not in str(run(tmp_path / "videos", out))
