"""What processes leave that are killed while they write: the next command mends it, or goes around it."""

import dataclasses
import json
import logging
from pathlib import Path

import pytest
from support.field_films import Films, Run

from raymaskdp import files
from raymaskdp.anonymize.output import decisions, progress
from raymaskdp.anonymize.output.manifest import read_manifest
from raymaskdp.errors import UserError
from raymaskdp.operate.progress import status
from raymaskdp.privacy.budget import CountedRun, budget, count_run
from raymaskdp.privacy.plan import PrivacyPlan

PLAN = PrivacyPlan(
    mechanism="dpsgd", num_records=100, expected_batch=10, steps=3, delta=1e-5, noise_multiplier=2.0
)


def counted(name: str) -> CountedRun:
    return CountedRun(run=name, key=name, plan=PLAN)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_a_torn_line_of_the_runs_costs_no_other(
    share: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is written before the first step, so its run has cost nothing; that it is removed is said."""
    count_run(tmp_path, counted("one"))
    count_run(tmp_path, counted("zwö"))
    path = tmp_path / "private/runs.jsonl"
    *whole, last = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(whole) + last[: int(share * len(last))])
    with caplog.at_level(logging.WARNING):
        assert [one.run for one in budget(tmp_path).runs] == ["one"]
    assert "was cut off when a run was killed" in caplog.text
    count_run(tmp_path, counted("three"))
    assert [one.run for one in budget(tmp_path).runs] == ["one", "three"]


def test_a_whole_line_without_its_end_counts(tmp_path: Path) -> None:
    count_run(tmp_path, counted("one"))
    path = tmp_path / "private/runs.jsonl"
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    count_run(tmp_path, counted("two"))
    assert [one.run for one in budget(tmp_path).runs] == ["one", "two"]


def test_a_damaged_line_within_the_runs_is_refused(tmp_path: Path) -> None:
    """Whose run may have cost anything."""
    count_run(tmp_path, counted("one"))
    path = tmp_path / "private/runs.jsonl"
    path.write_bytes(path.read_bytes()[:40] + b"\n" + path.read_bytes())
    with pytest.raises(UserError, match=r"Line 1 of .* is damaged"):
        count_run(tmp_path, counted("two"))


def test_a_torn_decision_counts_for_nothing(
    films: Films, run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    films.put(tmp_path / "videos/a.mp4")
    (row,) = run(tmp_path / "videos", tmp_path / "out").rows
    row = dataclasses.replace(row, status="quarantined", reason="somebody")
    for name in ("é", "Ann"):
        decisions.enter(tmp_path / "out", row, "release", by=name, because="seen")
    path = tmp_path / "out/decisions.jsonl"
    for cut in (30, 1):
        path.write_bytes(path.read_bytes()[:-cut])
        known = decisions.read(tmp_path / "out")
        assert [one.by for one in known] == ["é", "Ann"][: 1 if cut == 30 else 2]
        assert ("is incomplete" in caplog.text) == (cut == 30)
        decisions.enter(tmp_path / "out", row, "drop", by="Bob", because="seen")
        assert [one.by for one in decisions.read(tmp_path / "out")] == [*(one.by for one in known), "Bob"]
        caplog.clear()
        path.write_text("".join(json.dumps(dataclasses.asdict(one)) + "\n" for one in known))
        decisions.enter(tmp_path / "out", row, "release", by="Ann", because="seen")


@pytest.mark.parametrize("left", [b"", b"\0" * 20, b'{"videos": 7}'])
def test_what_is_left_of_a_note_hinders_nobody(left: bytes, films: Films, run: Run, tmp_path: Path) -> None:
    films.put(tmp_path / "videos/a.mp4")
    out, note = tmp_path / "out", tmp_path / ".out.progress"
    run(tmp_path / "videos", out)
    note.write_bytes(left)
    (shown,) = status(out).runs
    assert (shown.state, shown.total) == ("stopped", 7 if b"7" in left else None)
    assert progress.read(out) == (7 if b"7" in left else None)
    assert run(tmp_path / "videos", out).reused == 1
    assert not note.exists()
    assert status(out).runs[0].state == "finished"


def test_a_torn_line_of_the_list_of_a_folder_costs_no_other(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a.txt", "1")
    with open(tmp_path / files.MADE, "ab") as made:
        made.write(b"0123")
    files.write_text(tmp_path / "b.txt", "1")
    for name in ("a.txt", "b.txt"):
        files.write_text(tmp_path / name, "2")


def test_a_scratch_folder_that_was_half_removed_is_removed_by_the_next_run(
    films: Films, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its mark goes last."""
    work = files.scratch_folder(tmp_path / ".out.work")
    for name in ("a", "b", "z"):
        (work / name).mkdir()
        (work / f"{name}.txt").touch()

    def killed(path: Path, **_: object) -> None:
        raise KeyboardInterrupt(path)

    with monkeypatch.context() as patched:
        patched.setattr(files.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            files.remove_scratch(work)
    films.put(tmp_path / "videos/a.mp4")
    assert run(tmp_path / "videos", tmp_path / "out").done == 1
    assert not work.exists()
    assert set(read_manifest(tmp_path / "out")) == {"a"}
