"""Without Ray there is no other machine: one that is at fault stops the run, and fails no video."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.disks import disk
from support.field_films import Films

from raymaskdp.anonymize import anonymize
from raymaskdp.anonymize import run as runs
from raymaskdp.anonymize.item import Decided, Item, Pending
from raymaskdp.anonymize.outcome import run_item
from raymaskdp.anonymize.output.manifest import read_manifest
from raymaskdp.anonymize.run_locally import run_locally
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.errors import MACHINE, MachineError, UserError

SICK = "This machine fails"


def settings_of(films: Films) -> list[str]:
    pose = films.settings.pose
    return [
        f"pose.source={pose.source}",
        f"pose.skeletons={pose.skeletons}",
        "pose.veto=false",
        "workers=0",
        f"secret_file={films.settings.secret_file}",
    ]


@contextlib.contextmanager
def after_the_first(monkeypatch: pytest.MonkeyPatch, then: Callable[[], object]) -> Iterator[None]:
    """Something happens as soon as a first video is decided."""
    tell, told = runs._log_outcome, []

    def first(item: Item) -> None:
        tell(item)
        if not told:
            told.append(item)
            then()

    with monkeypatch.context() as changed:
        changed.setattr(runs, "_log_outcome", first)
        yield


def test_a_disk_that_fills_stops_the_run_and_keeps_what_is_done(
    films: Films, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    films.put(*(tmp_path / f"videos/{name}.mp4" for name in ("a", "b", "x", "y")))
    with disk(tmp_path / "small", "2m") as small:
        out = small / "out"

        def fill() -> None:
            with contextlib.suppress(OSError), open(small / "filler", "wb") as filler:
                while True:
                    filler.write(bytes(1000))
                    filler.flush()
            (small / "filler").write_bytes(bytes(os.path.getsize(small / "filler") - 8000))

        with (
            after_the_first(monkeypatch, fill),
            pytest.raises(UserError, match=r"no room left|No space left") as said,
        ):
            anonymize(tmp_path / "videos", out, films.settings, progress=False)
        assert "\n" not in str(said.value)
        rows = read_manifest(out)
        assert {row.status for row in rows.values()} <= {"done"}  # no video is called failed
        (small / "filler").unlink()
        result = anonymize(tmp_path / "videos", out, films.settings, progress=False)
        assert (result.done, result.failed) == (4, 0)
        assert result.reused == 1 or "finished before, but missing in the manifest" in str(result)


def test_a_disk_that_may_no_longer_be_written_stops_the_run(
    films: Films, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    films.put(*(tmp_path / f"videos/{name}.mp4" for name in ("a", "b", "x")))
    with disk(tmp_path / "small", "8m") as small:

        def lock() -> None:
            subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True, capture_output=True)

        with after_the_first(monkeypatch, lock), pytest.raises(UserError) as said:
            anonymize(tmp_path / "videos", small / "out", films.settings, progress=False)
        assert os.strerror(30) in str(said.value)
        subprocess.run(["mount", "-o", "remount,rw", str(small)], check=True, capture_output=True)
        assert not any(row.status == "failed" for row in read_manifest(small / "out").values())
        result = anonymize(tmp_path / "videos", small / "out", films.settings, progress=False)
        assert (result.done, result.failed) == (3, 0)


@pytest.mark.slow
def test_a_machine_that_cannot_draw_stops_the_run(films: Films, tmp_path: Path) -> None:
    """At the first failure: it is an error of no source."""
    films.put(*(tmp_path / f"videos/{name}.mp4" for name in ("a", "b")))
    command = [sys.executable, "-m", "raymaskdp", "anonymize", tmp_path / "videos", "--out", tmp_path / "out"]
    command += settings_of(films)
    done = subprocess.run(
        list(map(str, command)),
        env=os.environ | {"__EGL_VENDOR_LIBRARY_FILENAMES": "/none.json"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "OpenGL cannot be started" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    table = tmp_path / "out"
    assert not any(row.status == "failed" for row in read_manifest(table).values())


def item(name: str, status: Any = None, fault: str = "") -> Item:
    pending = Pending(record=VideoRecord(video_id=name, path=name))
    return pending if status is None else Decided.after(pending, status=status, fault=fault)


class Scripted:
    """Does what is said for each task, and counts how often it is tried itself."""

    def __init__(self, *said: Item | Exception, sick: Exception | None = None) -> None:
        self.said, self.sick, self.tests = list(said), sick, 0

    def __call__(self, task: Any) -> Any:
        said = self.said.pop(0)
        if isinstance(said, Exception):
            raise said
        return said

    def self_test(self) -> None:
        self.tests += 1
        if self.sick is not None:
            raise self.sick


def names(work: Scripted) -> list[str]:
    return [name for name, _ in run_locally({f"{n}": item(f"{n}") for n in range(len(work.said))}, work)]


def test_broken_videos_fail_and_the_machine_is_seldom_tried() -> None:
    work = Scripted(*(item("v", "failed") for _ in range(20)))
    assert names(work) == [str(n) for n in range(20)]
    assert work.tests == 2  # after 3, and 6 more
    work = Scripted(*(item("v", "failed", "ValueError: x") for _ in range(20)))
    assert names(work) == [str(n) for n in range(20)]
    assert work.tests <= 6
    work = Scripted(item("v", "failed"), item("v", "done"), item("v", "failed"))
    assert names(work) == ["0", "1", "2"]
    assert not work.tests


def test_what_a_sick_machine_failed_is_not_decided() -> None:
    sick = UserError("OpenGL cannot be started here.")
    done = item("v", "done")
    work = Scripted(done, *(item("v", "failed") for _ in range(9)), sick=sick)
    going = run_locally({f"{n}": done for n in range(10)}, work)
    assert next(going)[0] == "0"
    with pytest.raises(UserError, match=rf"{SICK} \(the self-test says: OpenGL cannot"):
        next(going)
    work = Scripted(done, item("v", "failed", "RuntimeError: x"), done, sick=RuntimeError("it\nis broken"))
    going = run_locally({f"{n}": done for n in range(3)}, work)
    assert next(going)[0] == "0"
    with pytest.raises(
        UserError, match=rf"^{SICK} \(the self-test says: RuntimeError: it is broken\); fix that"
    ):
        next(going)


@pytest.mark.parametrize(
    "error",
    [MachineError("There is no room left for x."), OSError(28, os.strerror(28)), OSError(30, "ro", "/x")],
)
def test_what_a_machine_lacks_is_believed_at_once(error: Exception) -> None:
    def fail(_: Item) -> Item:
        try:
            raise error
        except Exception as cause:
            raise RuntimeError("of a library") from cause

    made = run_item(fail, item("v"))
    assert isinstance(made, Decided)
    assert made.fault.startswith(MACHINE)
    work = Scripted(made)
    said = r"^(There is no room left for x|No space left on device|Read-only file system at /x).*\.$"
    with pytest.raises(MachineError, match=said):
        names(work)
    assert not work.tests
    with pytest.raises(MachineError, match=said):
        names(Scripted(error))  # of no video, but of a camera


def test_no_room_for_a_video_in_memory_fails_that_video_alone() -> None:
    """The machine is tried, and does what it should: this one is too large for it."""

    def large(_: Item) -> Item:
        raise MemoryError

    work = Scripted(run_item(large, item("v")), item("w", "done"))
    assert names(work) == ["0", "1"]
    assert work.tests == 1
