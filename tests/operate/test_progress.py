"""How far runs are, read from their folders while they go on."""

import fcntl
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml
from object_store import BUCKET, served

from raymaskdp import places, storage
from raymaskdp.anonymize.item import Decided
from raymaskdp.anonymize.output import manifest, progress
from raymaskdp.anonymize.output.progress import record_progress
from raymaskdp.anonymize.run import _locked
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.errors import UserError
from raymaskdp.operate.progress import STILL_SECONDS, status
from raymaskdp.privacy import Key, Ledger, PrivacyPlan
from raymaskdp.train.run.curve import spent_at_most


def rows(*statuses: str) -> list[manifest.Row]:
    items = [
        Decided(record=VideoRecord(video_id=f"v{n}", path=f"v{n}.mp4"), status=status)  # type: ignore[arg-type]
        for n, status in enumerate(statuses)
    ]
    return [manifest.row_of(item, "digest") for item in items]


def test_anonymizing_is_running_while_its_folder_is_locked(tmp_path: Path) -> None:
    out = tmp_path / "out"
    manifest.write_manifest(out, rows("done", "quarantined"))
    (found,) = status(tmp_path).runs
    assert (found.kind, found.done, found.total, found.state) == ("anonymize", 2, None, "finished")
    assert "1 done, 1 quarantined, 0 failed" in str(found)

    work = tmp_path / ".out.work"
    work.mkdir()
    (work / progress.WORK).write_text('{"videos": 7}')
    handle = os.open(out, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        (found,) = status(out).runs
        assert (found.done, found.total, found.state) == (2, 7, "running")
    finally:
        os.close(handle)


def test_a_run_that_was_killed_is_stopped(tmp_path: Path) -> None:
    """Killed, it has no time to write anything; what it wrote at its beginning says what was to be done."""
    out = tmp_path / "out"
    program = (
        "import os, sys; from pathlib import Path\n"
        "from raymaskdp.anonymize.output.progress import record_progress\n"
        "with record_progress(Path(sys.argv[1]), 7):\n"
        "    os.kill(os.getpid(), 9) if sys.argv[2] == 'killed' else None"
    )
    manifest.write_manifest(out, rows("done", "failed"))
    for how, state, total in (("killed", "stopped", 7), ("ended", "finished", None)):
        subprocess.run([sys.executable, "-c", program, out, how], check=False, timeout=120)
        (found,) = status(tmp_path).runs
        assert (found.done, found.total, found.state) == (2, total, state)
    with pytest.raises(RuntimeError), record_progress(out, 9):
        raise RuntimeError("it breaks off")
    (found,) = status(tmp_path).runs
    assert (found.total, found.state) == (9, "stopped")
    assert "no activity since" in found.detail


def test_a_run_that_was_killed_before_it_decided_anything_is_stopped(tmp_path: Path) -> None:
    """At each place: before it knew how many videos it has, and behind that; and beside another folder."""
    out = tmp_path / "a/out"
    program = (
        "import os, sys; from pathlib import Path\n"
        "from raymaskdp.anonymize.output.progress import record_progress\n"
        "from raymaskdp.anonymize.run import _locked\n"
        "with _locked(Path(sys.argv[1])) as work:\n"
        "    if sys.argv[2] == 'early': os.kill(os.getpid(), 9)\n"
        "    with record_progress(Path(sys.argv[1]), 7): os.kill(os.getpid(), 9)"
    )
    for when, total in (("early", None), ("late", 7)):
        subprocess.run([sys.executable, "-c", program, out, when], check=False, timeout=120)
        for asked in (out, tmp_path):
            before = sorted(tmp_path.rglob("*"))
            (found,) = status(asked).runs
            assert (found.folder, found.done, found.total, found.state) == (str(out), 0, total, "stopped")
            assert re.search(r"nothing decided yet; started 20\d\d-\S+ \S+, no activity", found.detail)
            assert sorted(tmp_path.rglob("*")) == before
    (tmp_path / "a/.out.progress").unlink()
    with _locked(out):  # another run, which cleans up
        (found,) = status(tmp_path).runs
        assert (found.done, found.total, found.state) == (0, None, "running")
    with pytest.raises(UserError, match="has no outputs"):
        status(tmp_path)


def test_a_locked_folder_is_running_before_its_run_counts_its_videos(tmp_path: Path) -> None:
    manifest.write_manifest(tmp_path / "out", rows("done"))
    with _locked(tmp_path / "out"):
        (found,) = status(tmp_path).runs
        assert (found.done, found.total, found.state) == (1, None, "running")
    assert status(tmp_path).runs[0].state == "finished"


def test_a_run_on_a_store_is_running_as_long_as_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it decides nothing, and not a moment longer than it lives."""
    out = f"{BUCKET}/far"
    with served() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(UserError, match=r"no manifest\.parquet"):
            status(out)
        monkeypatch.setattr(progress, "BEAT_SECONDS", 0.05)
        with record_progress(out, 5):
            (found,) = status(out).runs
            assert (found.done, found.total, found.state) == (0, 5, "running")
            storage.remove(places.join(out, progress.STORED))
            end = time.monotonic() + 100
            while progress.read(out) != 5:  # it says so again and again
                assert time.monotonic() < end
        storage.write(places.join(out, progress.STORED), b'{"videos": 5}')
        manifest.write_manifest(out, rows("done"))
        # It is silent for longer than this.
        monkeypatch.setattr(progress, "SILENT_SECONDS", -1)
        (found,) = status(out).runs
        assert (found.done, found.total, found.state) == (1, 5, "stopped")
        monkeypatch.setattr(progress, "SILENT_SECONDS", 100)
        with pytest.raises(KeyboardInterrupt), record_progress(out, 5):
            raise KeyboardInterrupt
        assert status(out).runs[0].state == "stopped"  # at once
        with record_progress(out, 5):
            pass
        assert status(out).runs[0].state == "finished"


def test_a_training_run_is_running_or_stopped(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "maskdp-1"
    folder.mkdir(parents=True)
    plan = PrivacyPlan(
        mechanism="maskdp",
        num_records=100,
        expected_batch=10.0,
        steps=50,
        delta=1e-5,
        noise_multiplier=2.0,
    )
    (folder / "plan.json").write_text(json.dumps(asdict(plan)))
    (found,) = status(tmp_path).runs
    assert (found.done, found.total, found.state) == (0, 50, "running")

    line = json.dumps({"step": 20, "epsilon": 1.25, "public_loss": 0.5})
    (folder / "curve.jsonl").write_text(line + "\n" + line[:10])  # the last line is being written
    key = Key.draw()
    ledger = Ledger.open(folder / "ledger.jsonl", plan=plan, key=key, fingerprint="data")
    for step in range(21):
        ledger.write_ahead(step)
    (found,) = status(tmp_path).runs
    assert (found.done, found.state) == (20, "running")
    assert f"ε = {spent_at_most(plan, 21):.3g} spent" in found.detail  # as the ledger says

    old = time.time() - STILL_SECONDS - 10
    for path in folder.iterdir():
        os.utime(path, (old, old))
    assert status(tmp_path).runs[0].state == "stopped"
    (folder / "result.json").write_text("{}")
    with pytest.raises(UserError, match=r"missing in .*result\.json"):
        status(tmp_path)


def test_trials_that_optuna_proposes_are_counted(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text('{"result": null}')
    settings = {
        "out": "o",
        "seeds": [0],
        "choose_on": "held-out.parquet",
        "train": {"data": "d", "privacy": {"epsilon": 2.0}},
        "grids": {"g": {"privacy.epsilon": [1, 2]}},
        "search": {"method": "optuna", "trials": 5, "space": {"privacy.clipping_norm": [0.5, 1.0]}},
    }
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(settings))
    (found,) = status(tmp_path).runs
    assert (found.kind, found.done, found.total, found.state) == ("sweep", 0, 2 + 5, "running")


def test_nothing_of_ours(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no outputs"):
        status(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        status(tmp_path / "nowhere")
