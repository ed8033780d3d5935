"""The benchmark's clock counts workers that have started, and its own videos are done from their poses."""

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch

from raymaskdp.anonymize.item import Decided, Item
from raymaskdp.anonymize.stages import Job
from raymaskdp.benchmarks.anonymize import Ratio, _memory, _speed, _threads, film
from raymaskdp.benchmarks.settings.videos import BenchmarkAnonymizeConfig
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.errors import UserError

SETTINGS = BenchmarkAnonymizeConfig(videos=6, frames=10)


def test_a_slow_start_does_not_count(tmp_path: Path) -> None:
    def run(items: Sequence[Item], job: Job) -> Iterator[Item]:
        time.sleep(0.3)  # workers load their networks
        for item in items:
            time.sleep(0.02)
            yield Decided.after(item, status="done")

    records = [VideoRecord(video_id=f"v{n}", path="v.mp4") for n in range(6)]
    assert _speed(run, records, SETTINGS, tmp_path / "round") == pytest.approx(500, rel=0.4)


def test_a_video_that_is_not_done_ends_the_benchmark(tmp_path: Path) -> None:
    def run(items: Sequence[Item], job: Job) -> Iterator[Item]:
        yield from (Decided.after(item, status="failed") for item in items)

    with pytest.raises(UserError, match="was failed"):
        _speed(run, [VideoRecord(video_id="v", path="v.mp4")], SETTINGS, tmp_path / "round")


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")
    with _threads(1):
        assert torch.get_num_threads() == 1
        assert os.environ["OMP_NUM_THREADS"] == "1"
    assert (torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")) == before


def test_shares_are_of_the_same_round() -> None:
    """A machine that slows down for everybody from round to round changes no share."""
    speeds = {"plain": [10.0, 5.0, 2.0], "one": [9.5, 4.5, 1.9]}
    share = Ratio.of(speeds, "one", "plain")
    assert share is not None
    assert (share.low, share.median, share.high) == pytest.approx((0.9, 0.95, 0.95))
    assert Ratio.of(speeds, "two", "one") is None
    with pytest.raises(UserError, match="parts must be one of"):
        BenchmarkAnonymizeConfig(parts=("speed",))


@pytest.mark.slow
def test_its_videos_are_done_without_a_network_and_measured_alone(tmp_path: Path) -> None:
    """Memory is that of a process of its own, which does not inherit what this one holds."""
    records = film(tmp_path / "film", BenchmarkAnonymizeConfig(videos=4, frames=4, width=96, height=72))
    assert len(records) == 4
    ballast = bytearray(os.urandom(1) * (1 << 30))
    row = _memory(1 / 60, 4.0, tmp_path, records[0])
    assert row.frames == 4
    assert 200 < row.peak_mib < 1024
    assert len(ballast) == 1 << 30
