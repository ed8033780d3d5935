"""Plans: profiles recover what made the samples, simulations keep to what must hold, plans meet runs."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymaskdp import cli
from raymaskdp.datasets.synthesize import SynthesizeConfig, synthesize
from raymaskdp.errors import UserError
from raymaskdp.operate.profile import Sample, Size, learn
from raymaskdp.operate.simulate import Cluster, simulate

SECONDS = st.lists(st.floats(0.1, 100.0), min_size=1, max_size=60)


def sample(frames: int, megapixels: float, noise: float = 1.0) -> Sample:
    rates = {"pose": (0.02, 0.03), "fit": (0.01, 0.0), "verify": (0.0, 0.05)}
    seconds = {name: noise * frames * (a + b * megapixels) for name, (a, b) in rates.items()}
    return Sample(
        size=Size(frames=frames, megapixels=megapixels), seconds=seconds, megabytes=frames * megapixels
    )


def test_a_profile_recovers_the_rates_that_made_the_samples() -> None:
    profile = learn([sample(50, 0.03), sample(400, 0.3), sample(90, 2.1)], machine="x", start=1.0)
    assert profile.seconds["pose"] == pytest.approx((0.02, 0.03), rel=1e-6)
    assert profile.seconds["fit"][1] == pytest.approx(0.0, abs=1e-9)
    assert profile.error == pytest.approx(0.0, abs=1e-6)
    assert profile.megabytes == pytest.approx(1.0)
    size = Size(frames=1000, megapixels=0.9)
    assert profile.video(size) == pytest.approx(1000 * (0.03 + 0.08 * 0.9))


def test_the_error_of_a_profile_is_that_of_videos_it_has_not_seen() -> None:
    draw = random.Random(0)
    noisy = [
        sample(draw.randint(20, 500), draw.uniform(0.03, 2), draw.lognormvariate(0, 0.2)) for _ in range(40)
    ]
    assert learn(noisy, machine="x", start=0).error == pytest.approx(0.2, rel=0.4)


def test_videos_that_did_not_get_to_the_end_teach_nothing() -> None:
    with pytest.raises(UserError, match="nothing to learn from"):
        learn([Sample(size=Size(frames=3, megapixels=1), seconds={"pose": 1.0})], machine="x", start=0)


@settings(deadline=None)
@given(SECONDS, st.integers(1, 5), st.integers(1, 4))
def test_without_losses_the_simulation_is_a_list_schedule(
    videos: list[float], nodes: int, workers: int
) -> None:
    outcome = simulate(videos, Cluster(nodes=nodes, workers=workers, node_start=3.0, worker_start=2.0))
    machines = min(nodes, -(-len(videos) // workers)) * workers
    free = [5.0] * machines  # an independent account: each video to the worker that is free first
    for video in videos:
        free.sort()
        free[0] += video
    assert outcome.seconds == pytest.approx(max(free))
    assert (outcome.lost_nodes, outcome.redone) == (0, 0)
    assert outcome.node_seconds <= nodes * outcome.seconds + 1e-6
    assert 0 < outcome.busy <= 1


@settings(deadline=None, max_examples=30)
@given(SECONDS, st.integers(1, 5), st.integers(0, 1000))
def test_lost_nodes_cost_time_and_no_video(videos: list[float], nodes: int, seed: int) -> None:
    rough = simulate(videos, Cluster(nodes=nodes, losses=30.0, node_start=5.0), seed=seed)
    assert rough.seconds >= 5 + max(max(videos), sum(videos) / nodes) - 1e-6
    assert rough.redone <= rough.lost_nodes
    assert rough.busy <= 1


def test_a_thousand_nodes() -> None:
    outcome = simulate([60.0] * 100_000, Cluster(nodes=1000, workers=10, node_start=180, losses=0.05))
    assert outcome.seconds == pytest.approx(600 + 180, rel=0.25)
    assert outcome.lost_nodes > 0


@pytest.mark.slow
def test_a_plan_of_sample_videos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = SynthesizeConfig(people=2, actions=("wave",), rooms=1, cameras=1, frames=8, test_share=0.5)
    synthesize(tmp_path / "sample", config)
    profile = tmp_path / "profile.yaml"
    arguments = [
        "plan",
        str(tmp_path / "sample"),
        "sample=1",
        "nodes=[1,2]",
        "price=2",
        f"save_profile={profile}",
        f"out={tmp_path / 'released'}",
    ]
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "2 videos, about 16 frames; learned from 1" in printed
    assert "| 2 |" in printed
    planned = json.loads((tmp_path / "released" / "cost-plan.json").read_text())
    assert sum(planned["shares"].values()) == pytest.approx(1)
    assert cli.main(["plan", str(tmp_path / "sample"), f"profile={profile}"]) == 0
    assert cli.main(["plan", str(tmp_path / "sample"), "profile=x", "run=y"]) == 2
