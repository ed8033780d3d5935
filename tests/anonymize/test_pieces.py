"""A long video whose process is killed goes on behind the last finished piece, to the same bytes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from formats import Film

from raymaskdp.anonymize import AnonymizeConfig, anonymize
from raymaskdp.anonymize.pose import PoseConfig
from raymaskdp.anonymize.sources.smpl import SMPL_PELVIS

PIECE_SECONDS = 2 / 12  # two frames


@pytest.mark.slow
def test_a_killed_video_is_taken_up_where_it_broke_off(film: Film, tmp_path: Path) -> None:
    source, secret, poses = film.record.path, tmp_path / "secret", tmp_path / "poses"
    secret.write_bytes(bytes(range(32)))
    with np.load(film.path) as truth:
        for person, turns_TJ3 in enumerate(truth["rotations"]):
            (poses / Path(source).stem).mkdir(parents=True, exist_ok=True)
            np.savez(
                poses / Path(source).stem / f"{person}.npz",
                poses=turns_TJ3.reshape(len(turns_TJ3), -1),
                trans=truth["joints3d"][person, :, 0] - SMPL_PELVIS,
                mocap_framerate=truth["fps"],
                camera=truth["camera"],
            )
    config = AnonymizeConfig(
        pose=PoseConfig(source="smpl", skeletons=poses, veto=False),
        secret_file=secret,
        piece_seconds=PIECE_SECONDS,
        workers=0,
    )
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    command = [
        sys.executable, "-m", "raymaskdp", "anonymize", source, "--out", str(killed), "workers=0",
        "pose.source=smpl", f"pose.skeletons={poses}", "pose.veto=false",
        f"secret_file={secret}", f"piece_seconds={PIECE_SECONDS}",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    pieces = tmp_path / ".killed.pieces"
    until = time.monotonic() + 300
    while process.poll() is None and not list(pieces.glob("*/*/00001.npz")):
        assert time.monotonic() < until
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not list(killed.glob("*.mp4"))  # nothing unverified is published
    assert pieces.stat().st_mode & 0o777 == 0o700
    finished = {path: path.stat().st_mtime_ns for path in pieces.glob("*/*/*.npz")}

    row = anonymize(source, killed, config, progress=False).rows[0]
    assert row.status == "done", row.reason
    metrics = json.loads(row.metrics)
    assert metrics["pieces"] == 5
    assert metrics["pieces_resumed"] == len(finished) >= 2
    assert not pieces.exists()  # it held what nobody had verified

    assert json.loads(anonymize(source, whole, config, progress=False).rows[0].metrics)["pieces_resumed"] == 0
    for suffix in (".mp4", ".avatar.mp4", ".npz"):
        name = f"{row.video_id}{suffix}"
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), suffix
