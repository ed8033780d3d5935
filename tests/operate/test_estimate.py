"""Plans: profiles recover what made the samples, simulations keep to what must hold, plans meet runs."""

import json
import random
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymaskdp import cli, config
from raymaskdp.anonymize.item import Decided
from raymaskdp.anonymize.output import manifest
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.errors import UserError
from raymaskdp.files import write_json
from raymaskdp.operate.cluster_simulation import Cluster, simulate
from raymaskdp.operate.config import EstimateConfig
from raymaskdp.operate.cost_model import Sample, Size, learn
from raymaskdp.operate.estimate import estimate
from raymaskdp.synthetic.config import SynthesizeConfig
from raymaskdp.synthetic.synthesize import synthesize
from raymaskdp.video.reader import VideoInfo
from raymaskdp.video.writer import VideoWriter

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
    with pytest.raises(UserError, match="no times to estimate from"):
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


def test_workers_share_the_processors_of_a_machine() -> None:
    alone = learn([sample(50, 0.03)], machine="x", start=1.0, cores=0.9)
    assert alone.slower(1, 4) == alone.slower(4, 4) == 1.0
    assert alone.slower(8, 4) == pytest.approx(1.8)
    assert alone.slower(2, 2, starting=True) == pytest.approx(1.5)
    together = learn([sample(50, 0.03)], machine="of a run", start=0.0)
    assert together.slower(8, 4) == 1.0  # what they cost each other is in their times


def test_a_profile_is_learned_from_a_run_and_used_again(tmp_path: Path) -> None:
    """Rows as a run writes them; the profile predicts the working time of that very run."""
    films, out = tmp_path / "films", tmp_path / "out"
    records = []
    for number, (frames, width) in enumerate([(3, 64), (9, 96), (5, 128)]):
        path = films / f"v{number}.mp4"
        grey = np.full((frames, 48, width, 3), 99, dtype=np.uint8)
        write_film(path, grey)
        records.append((path, frames, width * 48 / 1e6))
    out.mkdir()
    rows = []
    for path, frames, megapixels in records:
        seconds = {f"seconds_{name}": rate * frames for name, rate in (("pose", 0.5), ("verify", 0.1))}
        seconds["seconds_plate"] = 2.0 * frames * megapixels
        item = Decided(
            record=VideoRecord(video_id=path.stem, path=str(path)),
            status="done",
            info=VideoInfo(
                num_frames=frames, width=round(megapixels * 1e6 / 48), height=48, fps=Fraction(25)
            ),
            seconds=sum(seconds.values()) + 0.2 * frames,  # and 0.2 s a frame beside the stages
            metrics=seconds,
        )
        rows.append(manifest.row_of(item, "digest"))
    manifest.write_manifest(out, rows)

    profile = tmp_path / "profile.yaml"
    first = estimate(films, EstimateConfig(run=out, save_profile=profile, nodes=(1, 3)))
    taken = sum(row.seconds for row in rows)
    assert first.worker_hours * 3600 == pytest.approx(taken, rel=1e-3)
    assert first.shares["other"] == pytest.approx(0.2 * 17 / taken, rel=1e-2)
    assert first.offers[0].hours * 3600 == pytest.approx(taken, rel=1e-3)
    assert first.offers[1].hours * 3600 == pytest.approx(max(row.seconds for row in rows), rel=1e-3)
    again = estimate(films, EstimateConfig(profile=profile, nodes=(1, 3)))
    assert again == first
    with pytest.raises(UserError, match="either a profile or a run"):
        EstimateConfig(profile=profile, run=out)


def test_cameras_that_share_backgrounds_start_workers_three_times(tmp_path: Path) -> None:
    profile = tmp_path / "profile.yaml"
    known = learn([sample(50, 0.03), sample(90, 0.1)], machine="x", start=10.0, cores=1.0)
    write_json(profile, config.to_dict(known))
    for number in range(2):
        write_film(tmp_path / f"films/v{number}.mp4", np.full((3, 48, 64, 3), 99, dtype=np.uint8))
    hours = {}
    for camera in ("", "door"):
        table = tmp_path / f"camera{camera}.csv"
        lines = [f"films/v{number}.mp4,v{number},{camera}" for number in range(2)]
        table.write_text("\n".join(["path,video_id,camera", *lines]))
        planned = estimate(table, EstimateConfig(profile=profile, nodes=(1,), cores=2))
        hours[camera] = planned.offers[0].hours
    assert 3600 * (hours["door"] - hours[""]) == pytest.approx(2 * 10.0)


def write_film(path: Path, frames_THW3: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    with VideoWriter(path, width=frames_THW3.shape[2], height=frames_THW3.shape[1], fps=25) as film:
        for frame in frames_THW3:
            film.write(frame)


@pytest.mark.slow
@pytest.mark.cluster
def test_a_plan_of_sample_videos(
    ray_session: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = SynthesizeConfig(people=2, actions=("wave",), rooms=1, cameras=1, frames=8, test_share=0.5)
    synthesize(tmp_path / "sample", small)
    profile = tmp_path / "profile.yaml"
    arguments = [
        "estimate",
        str(tmp_path / "sample"),
        "sample=1",
        "nodes=[1,2]",
        "price=2",
        f"save_profile={profile}",
        "--out",
        str(tmp_path / "released"),
    ]
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "2 videos, about 16 frames; measured on 1" in printed
    assert "| 2 |" in printed
    planned = json.loads((tmp_path / "released" / "cost-plan.json").read_text())
    assert sum(planned["shares"].values()) == pytest.approx(1)
    assert cli.main(["estimate", str(tmp_path / "sample"), f"profile={profile}"]) == 0
    assert cli.main(["estimate", str(tmp_path / "sample"), "profile=x", "run=y"]) == 2
