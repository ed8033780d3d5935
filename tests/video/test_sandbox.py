"""Videos that crash, starve or outlast a decoder cost a sentence; what is said of others stays the same."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.films import bomb

from raymaskdp.errors import UserError
from raymaskdp.video import reader, sandbox
from raymaskdp.video.sandbox import DecodeLimits
from raymaskdp.video.writer import VideoWriter


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    with VideoWriter(path, width=64, height=48, fps=12) as writer:
        for frame in np.random.default_rng(0).integers(0, 255, (6, 48, 64, 3), np.uint8):
            writer.write(frame)
    return path


def test_a_path_starts_where_it_is_given(film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in the folder of the process at the first video."""
    sandbox.probe(film, DecodeLimits())
    (tmp_path / "elsewhere").mkdir()
    for folder, path in ((tmp_path, "film.mp4"), (tmp_path / "elsewhere", "../film.mp4")):
        monkeypatch.chdir(folder)
        assert sandbox.probe(path, DecodeLimits()).num_frames == 6


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def killing(find: Callable[[], list[int]], number: signal.Signals) -> threading.Thread:
    """Sends a signal to the first process that is found, as soon as one is."""

    def kill() -> None:
        end = time.monotonic() + 30
        while not (found := find()) and time.monotonic() < end:
            time.sleep(0.01)
        os.kill(found[0], number)

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


def test_it_says_what_the_reader_says(film: Path, tmp_path: Path) -> None:
    assert sandbox.probe(film, DecodeLimits()) == reader.probe(film)
    (tmp_path / "half.mp4").write_bytes(film.read_bytes()[:-900])
    for path in (tmp_path / "half.mp4", tmp_path / "none.mp4", tmp_path):
        with pytest.raises(UserError) as here:
            reader.probe(path)
        with pytest.raises(UserError) as there:
            sandbox.probe(path, DecodeLimits())
        assert str(there.value) == str(here.value)


def test_a_bomb_ends_at_its_limits_and_the_next_video_is_read(film: Path, tmp_path: Path) -> None:
    path = tmp_path / "bomb.avi"
    bomb(path)
    assert path.stat().st_size < 6e6  # what it holds, decoded, has 12 GB
    began = time.process_time()
    with pytest.raises(UserError, match=r"longer than decode.seconds=1 to decode"):
        sandbox.probe(path, DecodeLimits(seconds=1))
    assert time.process_time() - began < 1  # none of it was this process's
    assert sandbox.probe(film, DecodeLimits()).num_frames == 6

    bomb(path, size=6500, frames=1)
    with pytest.raises(UserError, match=r"6500×6500 pixels, more than decode.megapixels=36"):
        sandbox.probe(path, DecodeLimits())
    with pytest.raises(UserError, match=r"needs more than decode.gigabytes=0.25 to decode"):
        sandbox.probe(path, DecodeLimits(gigabytes=0.25))


def test_a_crash_of_the_decoder_costs_that_video(film: Path, tmp_path: Path) -> None:
    path = tmp_path / "bomb.avi"
    bomb(path)
    assert sandbox.probe(film, DecodeLimits()).num_frames == 6
    small = sandbox._process()._running.pid
    thread = killing(lambda: children_of(small), signal.SIGSEGV)
    with pytest.raises(UserError, match=r"bomb.avi crashes the decoder \(SIGSEGV\)"):
        sandbox.probe(path, DecodeLimits(seconds=60))
    thread.join()
    assert sandbox.probe(film, DecodeLimits()).num_frames == 6
    assert sandbox._process()._running.pid == small

    os.kill(small, signal.SIGKILL)
    sandbox._process()._running.wait()
    assert sandbox.probe(film, DecodeLimits()).num_frames == 6
