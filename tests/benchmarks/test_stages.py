"""Clocks of the stages: time counts once, for the innermost part, and nothing is left behind."""

import time
from pathlib import Path

import pytest

from raymaskdp.anonymize.people.finder import FindPeople
from raymaskdp.benchmarks.settings.videos import StagesConfig
from raymaskdp.benchmarks.stages import STAGES, _Clocks, benchmark_stages, film
from raymaskdp.errors import UserError
from raymaskdp.video import reader


def test_time_counts_for_the_innermost_clock_and_verification_keeps_its_own() -> None:
    clocks = _Clocks()
    with clocks.run("pose"):
        time.sleep(0.02)
        with clocks.run("decode"):
            time.sleep(0.06)
    with clocks.run("verify"), clocks.run("decode"):
        time.sleep(0.04)
    assert clocks.seconds["decode"] == pytest.approx(0.06, abs=0.02)
    assert clocks.seconds["pose"] == pytest.approx(0.02, abs=0.018)
    assert clocks.seconds["verify"] == pytest.approx(0.04, abs=0.02)


@pytest.mark.parametrize("size", ["640", "640x", "641x480", "32x32", "640x480x3"])
def test_sizes_that_no_video_has_are_refused(size: str) -> None:
    with pytest.raises(UserError, match="640x480"):
        StagesConfig(sizes=(size,))


@pytest.mark.slow
def test_every_stage_is_measured_and_the_clocks_are_taken_away() -> None:
    before = FindPeople.__call__, reader.stream
    result = benchmark_stages(StagesConfig(sizes=("192x144",), frames=6, rounds=1, profile=True))
    assert (FindPeople.__call__, reader.stream) == before
    assert [row.stage for row in result.rows] == list(STAGES)
    assert all(row.ms > 0 for row in result.rows)
    assert sum(row.share for row in result.rows) == pytest.approx(1)
    assert result.frames_per_second["192x144"] == pytest.approx(1000 / sum(row.ms for row in result.rows))
    assert "| frames/s" in str(result)
    assert len(result.profile) > 10
    assert [one.ms for one in result.profile] == sorted((one.ms for one in result.profile), reverse=True)
    (network,) = [one for one in result.profile if "onnxruntime" in one.function]
    assert network.calls >= 3  # boxes of two networks, and the second look
    assert network.function in str(result)


@pytest.mark.slow
def test_the_beginning_of_a_video_of_ones_own_is_measured(tmp_path: Path) -> None:
    video = film(tmp_path, "320x240", StagesConfig(sizes=("320x240",), frames=10))
    settings = StagesConfig(sizes=("192x144",), video=str(video), frames=6, rounds=1)
    own = film(tmp_path, "192x144", settings)
    found = reader.probe(own)
    assert (found.width, found.height, len(list(reader.stream(own)))) == (192, 144, 6)
    assert "320x240.mp4, 6 frames" in benchmark_stages(settings).machine
