"""Training elsewhere than on the CPU: every tensor is where it belongs, and the model is the same.

There is no GPU here. The device of `elsewhere.py` refuses what a GPU would refuse.
"""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from support.changes import changed
from support.elsewhere import ELSEWHERE

from raymaskdp.errors import UserError
from raymaskdp.privacy import Key
from raymaskdp.train import ClipStore, ComputeConfig, OptimizerConfig, TrainConfig, loop, train
from raymaskdp.train.device import CPU, device_here
from raymaskdp.train.evaluation import MeasuredClips, score_videos
from raymaskdp.train.run.curve import StepReport
from raymaskdp.train.run.job import TrainingJob, Worker
from raymaskdp.train.run.ray_workers import backend_of, scaling_of
from raymaskdp.train.run.setup import initial_model, set_up

KEY = Key(secret=bytes(range(32)))


@pytest.fixture
def base(base) -> TrainConfig:
    """Two steps. The default floor of dp-adam makes much of differences in the last bit."""
    optimizer = OptimizerConfig(name="dp-adam", learning_rate=0.01, variance_floor=1e-2, average=0.5)
    return changed(
        base, steps=2, optimizer=optimizer, privacy__expected_batch=3.0, compute__micro_batch=2,
        compute__checkpoint_every=1,
    )  # fmt: skip


def started(config: TrainConfig) -> TrainingJob:
    job = set_up(config).job
    job.key_file.parent.mkdir(parents=True)
    job.key_file.write_bytes(KEY.secret)
    return job


def test_the_other_device_mixes_with_nothing() -> None:
    here, there = torch.ones(2), torch.ones(2).to(ELSEWHERE)
    assert there.device == ELSEWHERE
    with pytest.raises(RuntimeError, match="mixes devices"):
        here + there
    assert torch.equal((there + torch.ones(())).cpu(), torch.full((2,), 2.0))


@pytest.mark.parametrize(
    ("mechanism", "scheme"), [("maskdp", "full"), ("multiclip", "lora"), ("sgd", "adapter")]
)
def test_a_run_that_moves_elsewhere_makes_the_same_model(base, tmp_path, mechanism, scheme) -> None:
    """The same lots and noise; the checkpoint of the first step is gone on from on the other device."""
    noise = None if mechanism == "sgd" else 1.0
    base = changed(base, scheme=scheme, privacy__mechanism=mechanism, privacy__noise_multiplier=noise)
    here, there = (started(changed(base, out=tmp_path / name)) for name in ("here", "there"))
    loop.run(here, Worker())

    class Stopped(Exception):
        pass

    def stop(report: StepReport) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        loop.run(there, Worker(), stop)
    loop.run(there, Worker(device=ELSEWHERE))
    expected, found = load_file(here.checkpoint_file), load_file(there.checkpoint_file)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


def test_features_sums_and_scores_are_made_elsewhere(base, tmp_path) -> None:
    linear = changed(base, scheme="linear", seed=21)
    job, added = started(linear), set[torch.device]()

    def all_reduce(tensor: torch.Tensor) -> None:
        """The other worker sees the same run, and has no record in any step."""
        added.add(tensor.device)
        if tensor.dim() == 3:
            tensor[1] = tensor[0]

    loop.run(job, Worker(0, 2, all_reduce, device=ELSEWHERE))
    assert added == {ELSEWHERE}
    there = train(changed(linear, out=tmp_path / "other"), key=KEY)  # its features were made elsewhere
    pixels = changed(linear, out=tmp_path / "pixels", compute__cache_features=False)
    first, second = (load_file(f"{run.run}/model.safetensors") for run in (there, train(pixels, key=KEY)))
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=1e-3, atol=1e-5)
    store = ClipStore.open(linear.data)
    model = initial_model(linear, store).eval()
    _, here = score_videos(model, store, linear, MeasuredClips(split="test"))
    _, elsewhere = score_videos(model.to(ELSEWHERE), store, linear, MeasuredClips(split="test"))
    torch.testing.assert_close(torch.from_numpy(elsewhere), torch.from_numpy(here))


def test_what_workers_with_gpus_ask_for() -> None:
    """Two workers on one GPU cannot use NCCL."""
    alone, shared = ComputeConfig(gpus=1.0, workers=(1, 4)), ComputeConfig(gpus=0.5, workers=2)
    assert scaling_of(alone)["resources_per_worker"] == {"CPU": 1, "GPU": 1.0}
    assert scaling_of(ComputeConfig())["resources_per_worker"] == {"CPU": 1}
    assert [scaling_of(one)["use_gpu"] for one in (alone, shared, ComputeConfig())] == [True, True, False]
    assert [backend_of(one) for one in (alone, shared, ComputeConfig())] == ["nccl", "gloo", "gloo"]
    with pytest.raises(UserError, match=r"compute\.gpus must be"):
        ComputeConfig(gpus=1.5)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_no_cpu(base) -> None:
    assert device_here(0) == CPU
    with pytest.raises(UserError, match="torch sees no GPU here"):
        train(changed(base, compute__gpus=1.0))
