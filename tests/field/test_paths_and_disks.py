"""Names, folders, links and disks as users have them."""

import contextlib
import errno
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from support.disks import disk
from support.field_films import Films, Run

from raymaskdp import cli, files, places
from raymaskdp.anonymize import AnonymizeConfig, anonymize
from raymaskdp.anonymize.output import folders
from raymaskdp.anonymize.output.manifest import same_source
from raymaskdp.audit import TrainingAuditConfig, audit_training
from raymaskdp.datasets.importing import import_dataset
from raymaskdp.datasets.manifest import find_source
from raymaskdp.errors import UserError
from raymaskdp.files import MADE
from raymaskdp.report import report
from raymaskdp.report.review import review
from raymaskdp.train import PrepareConfig, prepare
from raymaskdp.video.reader import probe

SIZE = PrepareConfig(width=32, height=24, token=2)
LATIN = os.fsdecode(b"caf\xe9.mp4")


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Without the rights of the administrator."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_what_may_not_be_read_is_one_sentence(
    films: Films, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A video, a folder of videos, a table, and the folder around the outputs."""
    around = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    monkeypatch.setenv("RAYMASKDP_CACHE", str(around / "cache"))
    videos, film, table = around / "videos", around / "videos/a.mp4", around / "list.csv"
    try:
        around.chmod(0o755)
        films.put(film)
        (row,) = run(videos, around / "out").rows
        films.put(videos / "closed/b.mp4")
        table.write_text("path\nvideos/a.mp4\n")
        (around / "private").mkdir()
        for path in (film, videos / "closed", table, around / "private"):
            path.chmod(0)
        unread = pytest.raises(UserError, match=r"a\.mp4 cannot be read: Permission denied; change")
        with as_nobody():
            found = find_source(videos)
            assert [record.video_id for record in found.records] == ["a"]
            assert found.left_out == {"a folder without read permission": ("closed/",)}
            assert not same_source(found.records[0], row)
            with unread:
                probe(film)
            with pytest.raises(UserError, match=r"list\.csv: Permission denied\.$"):
                find_source(table)
            with pytest.raises(UserError, match="Cannot write to the folder"):
                anonymize(film, around / "private/out", AnonymizeConfig(workers=0), progress=False)
            with pytest.raises(UserError, match=r"The setting pose.skeletons names .* may not be read"):
                run(film, around / "out")
        videos.chmod(0o444)
        with as_nobody(), unread:
            probe(find_source(videos).records[0].path)
    finally:
        shutil.rmtree(around)


@pytest.mark.parametrize("how", ["anonymize", "prepare"])
def test_what_is_no_file_is_waited_for_by_nobody(how: str, films: Films, run: Run, tmp_path: Path) -> None:
    """A pipe that nobody writes to, and a device without an end; in a folder and in a table."""
    films.put(tmp_path / "videos/a.mp4")
    os.mkfifo(tmp_path / "videos/pipe.mp4")
    (tmp_path / "videos/device.mp4").symlink_to("/dev/zero")
    (tmp_path / "list.csv").write_text("path\nvideos/pipe.mp4\n/dev/zero\nvideos/a.mp4\n")
    assert find_source(tmp_path / "videos").left_out == {
        "not a file, or a broken link": ("device.mp4", "pipe.mp4")
    }
    if how == "anonymize":
        found = {row.video_id: row.reason for row in run(tmp_path / "list.csv", tmp_path / "out").rows}
        assert "videos/pipe.mp4 does not exist" in found["videos__pipe"]
    else:
        failed = prepare(tmp_path / "list.csv", tmp_path / "out", SIZE).failed
        assert set(failed) >= {"videos__pipe"}
        assert len(failed) == 2


def test_an_audit_finds_out_before_its_work_that_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file is a file, and .*file/out would be a folder; give another"):
        audit_training(out=tmp_path / "file/out", settings=TrainingAuditConfig(models=0))


# --- names ----------------------------------------------------------------------------------------------


def test_a_name_that_is_no_utf8(
    films: Films, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is done like any other; tables and terminals show its bytes."""
    films.put(tmp_path / "videos" / LATIN)
    record = find_source(tmp_path / "videos").records[0]
    poses = films.settings.pose.skeletons
    assert poses is not None
    shutil.copy(poses / "a.npz", poses / f"{record.video_id}.npz")
    result = run(tmp_path / "videos", tmp_path / "out")
    assert result.done == 1, str(result)
    print(result)  # as the command line does
    assert record.video_id.startswith("caf_-")
    table = pd.read_parquet(tmp_path / "out/manifest.parquet")
    assert table.source[0].endswith(r"caf\xe9.mp4")
    assert places.named(table.source[0]) == str(tmp_path / "videos" / LATIN)
    assert run(tmp_path / "videos", tmp_path / "out").reused == 1
    report(tmp_path / "out", tmp_path / "page.html", show_sources=True)
    assert prepare(tmp_path / "out", tmp_path / "clips", SIZE).failed == {}
    for people in ("removed", "blurred"):
        settings = PrepareConfig(width=32, height=24, token=2, people=people)  # type: ignore[arg-type]
        assert prepare(tmp_path / "out", tmp_path / people, settings).failed == {}


def test_an_output_folder_whose_name_is_no_utf8(
    films: Films, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor that of a folder around it: Parquet takes no such path, which was found out behind the work."""
    films.put(tmp_path / "videos/a.mp4")
    latin = tmp_path / os.fsdecode(b"caf\xe9")
    for command in ("anonymize", "prepare"):
        for out in (latin, latin / "out"):
            assert cli.main([command, str(tmp_path / "videos"), "--out", str(out)]) == 2
            said = capsys.readouterr().err
            assert rf"Cannot write to the folder {tmp_path}/caf\xe9" in said
            assert said.count("\n") == 1
    assert os.listdir(tmp_path) == ["videos"]


def test_one_bad_film_of_that_name_costs_itself(films: Films, run: Run, tmp_path: Path) -> None:
    films.put(tmp_path / "videos/a.mp4")
    (tmp_path / "videos" / LATIN).write_text("no film")
    result = run(tmp_path / "videos", tmp_path / "out")
    assert (result.done, result.failed) == (1, 1)
    assert r"caf\xe9.mp4 is not a video" in str(result)
    assert str(result).encode()
    assert review(tmp_path / "out").quarantined == 0


def test_an_import_leaves_out_what_no_table_can_name(tmp_path: Path) -> None:
    for name in ("wave/a.mp4", f"wave/{LATIN}"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_bytes(b"x")
    result = import_dataset("folders", tmp_path / "data", tmp_path / "list.parquet")
    assert sum(result.videos.values()) == 1
    assert "file name that is not UTF-8 (1)" in str(result)
    assert r"caf\xe9.mp4" in str(result)


# --- what a folder holds --------------------------------------------------------------------------------


def test_what_is_left_out_of_a_folder_is_counted_and_named(
    films: Films, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos = tmp_path / "videos"
    films.put(videos / "a.mp4", videos / ".Trash/b.mp4", videos / ".hidden.mp4")
    (videos / "._a.mp4").write_bytes(b"\0\5\26\7AppleDouble")
    (videos / "gone.mp4").symlink_to(tmp_path / "nothing.mp4")
    (videos / "old.dv").write_bytes(b"x")
    (videos / "code.ts").write_text("export const x = 1;\n")
    (videos / "notes.txt").write_text("x")
    result = run(videos, tmp_path / "out")
    assert [row.video_id for row in result.rows] == ["a"]
    assert set(result.notes) == {
        "3 ignored, a hidden file, or in a hidden folder: .Trash/, ._a.mp4, .hidden.mp4",
        "1 ignored, not a file, or a broken link: gone.mp4",
        "1 ignored, of an unsupported format: old.dv",
        "1 ignored, called .ts, but not a transport stream: code.ts",
    }


def test_linked_folders_are_searched_and_circles_are_not(films: Films, tmp_path: Path) -> None:
    films.put(tmp_path / "elsewhere/b.mp4", tmp_path / "videos/a.mp4")
    (tmp_path / "videos/more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "videos/again").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "videos/circle").symlink_to(tmp_path / "videos")
    (tmp_path / "videos/up").symlink_to(tmp_path)
    found = find_source(tmp_path / "videos")
    assert [record.video_id for record in found.records] == ["a", "again__b"]
    assert found.left_out == {"a link to a folder that is searched anyway": ("circle", "more", "up")}


SUFFIXES = ("ts", "mts", "m2ts", "m2t", "flv", "f4v", "vob", "mxf", "ogv", "asf", "3g2", "m2v", "divx")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_container_that_is_read_is_found(suffix: str, tmp_path: Path) -> None:
    head = b"G" if suffix in ("ts", "mts", "m2ts", "m2t") else b"x"
    (tmp_path / f"clip.{suffix}").write_bytes(head + b"\0" * 200)
    (tmp_path / f"LOUD.{suffix.upper()}").write_bytes(head + b"\0" * 200)
    assert len(find_source(tmp_path).records) == 2


# --- disks ----------------------------------------------------------------------------------------------


def test_an_output_folder_that_is_a_mount_point(films: Films, run: Run, tmp_path: Path) -> None:
    films.put(tmp_path / "videos/a.mp4")
    with disk(tmp_path / "out") as out:
        result = run(tmp_path / "videos", out)
        assert result.done == 1, str(result)
        assert sorted(os.listdir(out)) == ["a.avatar.mp4", "a.json", "a.mp4", "a.npz", "manifest.parquet"]
        assert run(tmp_path / "videos", out).reused == 1
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".out")]


def test_an_output_folder_on_the_same_disk_by_another_mount(films: Films, run: Run, tmp_path: Path) -> None:
    """Nothing shows there but that a file cannot be moved."""
    films.put(tmp_path / "videos/a.mp4")
    (tmp_path / "real").mkdir()
    (tmp_path / "out").mkdir()
    bind = ["mount", "--bind", str(tmp_path / "real"), str(tmp_path / "out")]
    if shutil.which("mount") is None or subprocess.run(bind, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        assert run(tmp_path / "videos", tmp_path / "out").done == 1
    finally:
        subprocess.run(["umount", "-l", str(tmp_path / "out")], check=True)


def test_an_output_folder_of_ones_own_in_a_folder_of_others(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would be private beside it is in it, hidden, or in the cache, if it lasts."""
    around = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    monkeypatch.setenv("RAYMASKDP_CACHE", str(around / "own/cache"))
    try:
        around.chmod(0o755)
        own = around / "own"
        own.mkdir()
        own.chmod(0o777)
        out = own / "deep" / "out"
        with as_nobody():
            (own / "deep").mkdir()
            out.mkdir()
            (own / "deep").chmod(0o555)
            work = folders.staging(out, "work")
            assert work == out / ".raymaskdp.work"
            files.scratch_folder(work)
            assert folders.existing(out, "work") == work
            files.remove_scratch(work)
            assert not work.exists()
            secret = folders.persistent(out, "secret")
            assert secret.is_relative_to(own / "cache")
            secret.write_bytes(bytes(32))
            (own / "deep").chmod(0o755)
            assert folders.persistent(out, "secret") == secret  # once chosen, it stays
            (own / "deep").chmod(0o555)
            with pytest.raises(UserError, match="Cannot write to the folder"):
                files.write_text(own / "deep" / "x.txt", "x")
            with pytest.raises(UserError, match="Cannot write to the folder"):
                files.scratch_folder(own / "deep" / "new")
    finally:
        shutil.rmtree(around)


def test_a_disk_that_fills_while_a_table_is_written(tmp_path: Path) -> None:
    with disk(tmp_path / "small", "64k") as small:
        files.write_text(small / "x.csv", "old")
        table = pd.DataFrame({"x": [os.urandom(1000).hex() for _ in range(500)]})

        def write_table() -> None:
            with files.atomic_path(small / "x.parquet") as temporary:
                table.to_parquet(temporary, index=False)

        with pytest.raises(UserError, match=r"no room left for .*x\.parquet; free some"):
            write_table()
        with pytest.raises(UserError, match=r"no room left for .*x\.csv"):
            files.write_text(small / "x.csv", "new" * 100_000)
        assert (small / "x.csv").read_text() == "old"
        assert sorted(os.listdir(small)) == [MADE, "x.csv"]


def test_a_disk_that_fills_while_a_list_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> object:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("builtins.open", full)
    with pytest.raises(UserError, match=r"no room left for .*\.made-by-raymaskdp"):
        files.mark_outputs(tmp_path)


def test_a_disk_that_fills_during_a_run(
    films: Films, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence; and with room the same command goes on."""
    films.put(tmp_path / "videos/a.mp4")
    pose = films.settings.pose
    settings = [
        f"pose.source={pose.source}",
        f"pose.skeletons={pose.skeletons}",
        "pose.veto=false",
        "workers=0",
    ]
    settings.append(f"secret_file={films.settings.secret_file}")
    with disk(tmp_path / "small", "256k") as small:
        out = small / "out"
        (small / "filler").write_bytes(b"\0" * 250_000)
        status = cli.main(["anonymize", str(tmp_path / "videos"), "--out", str(out), *settings])
        said = capsys.readouterr().err.strip().splitlines()
        assert status in (1, 2)
        assert not any(line.startswith("Traceback") for line in said)
        if status == 2:
            assert "no room left" in said[-1] or os.strerror(errno.ENOSPC) in said[-1]
        (small / "filler").unlink()
        assert cli.main(["anonymize", str(tmp_path / "videos"), "--out", str(out), "--json", *settings]) == 0
        assert json.loads(capsys.readouterr().out)["done"] == 1
