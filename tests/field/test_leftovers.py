"""Pictures of people stay nowhere that nobody thinks of: clips, pages among outputs, temporary folders."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from support.field_films import Films, Run

from raymaskdp.errors import UserError
from raymaskdp.places import MARK, remove_leftovers, temporary_folder
from raymaskdp.report import report
from raymaskdp.report.pictures.contact_sheet import sheet
from raymaskdp.report.review import review
from raymaskdp.train import PrepareConfig, prepare

SIZE = PrepareConfig(width=32, height=24)


def test_prepare_removes_the_clips_of_videos_that_are_gone(films: Films, tmp_path: Path) -> None:
    films.put(tmp_path / "videos/a.mp4", tmp_path / "videos/b.mp4", tmp_path / "videos/x.mp4")
    clips = tmp_path / "store/clips"
    assert prepare(tmp_path / "videos", tmp_path / "store", SIZE).videos == 3
    (clips / "x.frames.npy").write_bytes(b"a file of the user's")
    for name in ("b", "x"):
        (tmp_path / f"videos/{name}.mp4").unlink()
    result = prepare(tmp_path / "videos", tmp_path / "store", SIZE)
    assert result.videos == result.reused == 1
    left = {path.name for path in clips.iterdir() if not path.name.startswith(".")}
    assert left == {"a.frames.npy", "a.masks.npy", "a.json", "x.frames.npy"}
    assert "the clips of b, x, not in the source any more, were removed" in str(result)
    assert "x.frames.npy" in str(result)


def test_a_video_that_fails_now_keeps_its_clips(films: Films, tmp_path: Path) -> None:
    films.put(tmp_path / "videos/a.mp4", tmp_path / "videos/b.mp4")
    prepare(tmp_path / "videos", tmp_path / "store", SIZE)
    (tmp_path / "videos/b.mp4").write_bytes(b"torn")
    assert set(prepare(tmp_path / "videos", tmp_path / "store", SIZE).failed) == {"b"}
    assert (tmp_path / "store/clips/b.frames.npy").is_file()


def test_what_shows_people_is_not_written_among_outputs(films: Films, run: Run, tmp_path: Path) -> None:
    """That folder is passed on; and what is written elsewhere is for its owner alone."""
    films.put(tmp_path / "videos/a.mp4")
    run(tmp_path / "videos", out := tmp_path / "out")
    (tmp_path / "link").symlink_to(out)
    among = pytest.raises(UserError, match="would show people as they are")
    for place in (out, out / "deep/er", tmp_path / "link"):
        with among:
            sheet(out, place / "sheet.png", show_sources=True)
        with among:
            review(out, place / "review.html")
        with among:
            report(out, place / "report.html", show_sources=True)
    with among:
        report(out, show_sources=True)
    sheet(out, out / "sheet.png")
    os.umask(before := os.umask(0o022))
    assert (out / "sheet.png").stat().st_mode & 0o777 == 0o666 & ~before
    sheet(out, tmp_path / "sheet.png", show_sources=True)
    page = review(out, tmp_path / "review.html").page
    assert page is not None
    for path in (tmp_path / "sheet.png", Path(page)):
        assert path.stat().st_mode & 0o777 == 0o600


def test_temporary_folders_of_killed_processes_are_removed_by_a_later_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not those of a process that lives, of today, or without the mark."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    code = "import os, raymaskdp.places as l\nwith l.temporary_folder('plan-') as f: os._exit(9)"
    subprocess.run([sys.executable, "-c", code], check=False)
    (dead,) = tmp_path.iterdir()
    (tmp_path / "raymaskdp-of-the-user").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / MARK).touch()
    (tmp_path / "raymaskdp-linked").symlink_to(tmp_path / "elsewhere")
    with temporary_folder() as alive:
        remove_leftovers(time.time())
        assert dead.is_dir()
        remove_leftovers(time.time() + 25 * 3600)
        assert not dead.exists()
        assert alive.is_dir()
    kept = {"raymaskdp-of-the-user", "elsewhere", "raymaskdp-linked"}
    assert {path.name for path in tmp_path.iterdir()} == kept
