"""A long video whose worker is killed resumes after the last complete chunk, with the same bytes."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from support.formats import Film

from raymaskdp import config as configuration
from raymaskdp.anonymize import AnonymizeConfig, anonymize
from raymaskdp.anonymize.output.manifest import DATA_SUFFIXES
from raymaskdp.anonymize.people.config import PoseConfig
from raymaskdp.anonymize.people.sources.smpl import SMPL_PELVIS

PIECE_SECONDS = 2 / 12  # two frames
PIECES = 5


@dataclass(frozen=True)
class Undisturbed:
    """A film that was anonymized in one go, with what is needed to do it again."""

    source: str
    config: AnonymizeConfig
    out: Path

    def files_of(self, out: Path) -> dict[str, bytes]:
        name = Path(self.source).stem
        return {suffix: (out / f"{name}{suffix}").read_bytes() for suffix in DATA_SUFFIXES}


@pytest.fixture(scope="module")
def undisturbed(film: Film, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    source, secret, poses = film.record.path, folder / "secret", folder / "poses"
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
        chunk_seconds=PIECE_SECONDS,
        workers=0,
    )
    row = anonymize(source, folder / "out", config, progress=False).rows[0]
    assert json.loads(row.metrics)["chunks_resumed"] == 0
    return Undisturbed(source, config, folder / "out")


def wait_for_chunks(folder: Path, alive: Callable[[], bool]) -> None:
    """Until two chunks below the private folder are finished."""
    until = time.monotonic() + 300
    while alive() and not list(folder.glob("*/*/00001.npz")):
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.slow
def test_a_killed_run_is_taken_up_where_it_broke_off(undisturbed: Undisturbed, tmp_path: Path) -> None:
    config, killed = undisturbed.config, tmp_path / "killed"
    command = [
        sys.executable, "-m", "raymaskdp", "anonymize", undisturbed.source, "--out", str(killed), "workers=0",
        "pose.source=smpl", f"pose.skeletons={config.pose.skeletons}", "pose.veto=false",
        f"secret_file={config.secret_file}", f"chunk_seconds={PIECE_SECONDS}",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    chunks = tmp_path / ".killed.pieces"
    wait_for_chunks(chunks, lambda: process.poll() is None)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not list(killed.glob("*.mp4"))  # nothing unverified is published
    assert chunks.stat().st_mode & 0o777 == 0o700
    finished = list(chunks.glob("*/*/*.npz"))

    row = anonymize(undisturbed.source, killed, config, progress=False).rows[0]
    assert row.status == "done", row.reason
    metrics = json.loads(row.metrics)
    assert metrics["chunks"] == PIECES
    assert metrics["chunks_resumed"] == len(finished) >= 2
    assert not chunks.exists()  # it had unverified frames
    assert undisturbed.files_of(killed) == undisturbed.files_of(undisturbed.out)


@pytest.mark.slow
@pytest.mark.cluster
def test_the_next_actor_goes_on_behind_a_killed_ones_last_piece(
    undisturbed: Undisturbed, ray_session: None, tmp_path: Path
) -> None:
    """The run is not started again: Ray starts another actor, which finds the chunks."""
    killed: list[int] = []
    over = threading.Event()

    def kill() -> None:
        wait_for_chunks(tmp_path / ".out.pieces", lambda: not over.is_set())
        killed.extend(pid for pid in map_workers() if not over.is_set())
        for pid in killed:
            os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        config = replace(undisturbed.config, workers=1)
        row = anonymize(undisturbed.source, tmp_path / "out", config, progress=False).rows[0]
    finally:
        over.set()
        killer.join()
    assert len(killed) == 1
    assert row.status == "done", row.reason
    assert 2 <= json.loads(row.metrics)["chunks_resumed"] < PIECES
    assert undisturbed.files_of(tmp_path / "out") == undisturbed.files_of(undisturbed.out)


def map_workers() -> list[int]:
    """Processes of this session's cluster that run the stages."""
    import psutil  # Ray brings it, once it is imported

    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "MapWorker" in " ".join(process.cmdline()):
                found.append(process.pid)
    return found


def test_settings_have_the_digest_of_versions_that_called_chunks_pieces() -> None:
    """Otherwise finished videos of these versions would be processed again."""
    settings = configuration.to_dict(AnonymizeConfig())
    named = settings | {"pieces": settings.pop("chunks"), "piece_seconds": settings.pop("chunk_seconds")}
    del named["pools"]
    assert AnonymizeConfig().digest() == configuration.digest(named)
    assert AnonymizeConfig(chunks=Path("x")).digest() == AnonymizeConfig().digest()
    assert AnonymizeConfig(chunk_seconds=9).digest() != AnonymizeConfig().digest()
