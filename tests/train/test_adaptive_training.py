"""Adaptive clipping through the real loop: reachable, paid for, redone alike, and alike on all workers."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support.changes import changed

from raymaskdp import config as configuration
from raymaskdp.errors import UserError
from raymaskdp.models import save_weights
from raymaskdp.privacy import Key, read_ledger
from raymaskdp.train import ClipStore, TrainConfig, loop, train
from raymaskdp.train.guarantee.check import verify
from raymaskdp.train.run.curve import StepReport, read_curve
from raymaskdp.train.run.job import TrainingJob, Worker
from raymaskdp.train.run.setup import initial_model, set_up

KEY = Key(secret=bytes(range(32)))


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def adaptive(base) -> TrainConfig:
    """As a user writes it; every record is a micro-batch, so that sums are the same on any workers."""
    settings = configuration.to_dict(base)
    settings["privacy"] |= {"clipping": "adaptive", "adaptive": {"quantile": 0.6, "rate": 0.4}}
    settings["compute"]["micro_batch"] = 1
    return configuration.build(TrainConfig, settings, where="test")


def started(config: TrainConfig) -> TrainingJob:
    job = set_up(config).job
    job.key_file.parent.mkdir(parents=True, exist_ok=True)
    job.key_file.write_bytes(KEY.secret)
    return job


def state_of(job: TrainingJob) -> dict[str, torch.Tensor]:
    return load_file(job.checkpoint_file)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def path_of(run: Path) -> list[float]:
    """C of every step, as the ledger says."""
    norms = read_ledger(run / "ledger.jsonl").norms
    return [norm for (_, _), norm in sorted(norms.items(), key=lambda item: item[0][1])]


@pytest.mark.parametrize("mechanism", ["maskdp", "maskdp-full", "multiclip", "dpsgd"])
def test_it_costs_what_flat_clipping_costs_and_says_what_it_did(adaptive, base, mechanism) -> None:
    adaptive, base = (changed(one, privacy__mechanism=mechanism) for one in (adaptive, base))
    result = train(adaptive, key=KEY)
    assert result.epsilon == set_up(base).job.plan.epsilon()
    run = Path(result.run)
    path = path_of(run)
    assert path[0] == 1.0
    assert len(set(path)) == len(path) == 6
    assert [line.clipping_norm for line in read_curve(run / "curve.jsonl")] == path
    assert verify(run).epsilon == pytest.approx(result.epsilon)
    assert "released counts alone" in verify(run).guarantee_statement
    assert state_of(set_up(adaptive).job)["clipping_norm"].dtype == torch.float64


def test_runs_without_it_keep_their_names_and_their_files(base) -> None:
    job = set_up(base).job
    assert "adaptive" not in configuration.overrides(base)
    run = Path(train(base, key=KEY).run)
    assert read_ledger(run / "ledger.jsonl").norms == {}
    assert "clipping_norm" not in state_of(job)
    assert {line.clipping_norm for line in read_curve(run / "curve.jsonl")} == {None}


@pytest.mark.parametrize("stop_after", [1, 2, 3, 5])
def test_a_resumed_run_has_the_same_path(adaptive, tmp_path, stop_after) -> None:
    whole = started(changed(adaptive, out=tmp_path / "whole"))
    loop.run(whole, Worker())
    cut = started(changed(adaptive, out=tmp_path / "cut"))

    def stop(report: StepReport) -> None:
        if report.step == stop_after:
            raise Killed

    with pytest.raises(Killed):
        loop.run(cut, Worker(), stop)
    loop.run(cut, Worker())
    assert same(state_of(whole), state_of(cut))
    assert path_of(whole.folder) == path_of(cut.folder)
    assert read_ledger(cut.ledger_file).steps_spent == 6


def test_a_redone_step_with_another_norm_is_refused(adaptive) -> None:
    """The norm in the checkpoint is exchanged: the same noise would then hide two sums."""
    job = started(adaptive)

    def stop(report: StepReport) -> None:
        if report.step == 3:
            raise Killed  # the checkpoint has two steps

    with pytest.raises(Killed):
        loop.run(job, Worker(), stop)
    state = state_of(job)
    state["clipping_norm"] *= 1.5
    with safe_open(job.checkpoint_file, "pt") as stored:
        about = stored.metadata()
    save_file(state, job.checkpoint_file, metadata=about)
    with pytest.raises(UserError, match="under the same noise"):
        loop.run(job, Worker())


def test_a_step_redone_otherwise_goes_its_own_way_and_is_counted(adaptive) -> None:
    job = started(adaptive)

    def stop(report: StepReport) -> None:
        if report.step == 3:
            raise Killed

    with pytest.raises(Killed):
        loop.run(job, Worker(), stop)
    loop.run(started(changed(adaptive, compute__micro_batch=2)), Worker())
    ledger = read_ledger(job.ledger_file)
    assert ledger.steps_spent == 6
    again = [norm for (_, step), norm in ledger.norms.items() if step == 2]
    assert len(again) == 2
    assert again[0] == again[1]  # of the same released counts before it
    after = [norm for (_, step), norm in ledger.norms.items() if step == 3]
    assert len(after) == 1


def together(config: TrainConfig, count: int) -> TrainingJob:
    """The loop on threads that add up like workers of Ray Train."""
    job = started(config)
    barrier, shared, failures = threading.Barrier(count), {}, []

    def work(rank: int) -> None:
        def all_reduce(tensor: torch.Tensor) -> None:
            shared[rank] = tensor.clone()
            barrier.wait()
            tensor.copy_(sum(shared[other] for other in range(count)))
            barrier.wait()

        try:
            loop.run(job, Worker(rank, count, all_reduce))
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            failures.append(error)
            barrier.abort()

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    return job


@pytest.mark.parametrize("clipping", ["adaptive", "flat"])
@pytest.mark.parametrize("expected_batch", [1.0, 6.0])
def test_one_two_and_three_workers_are_equal_to_the_bit(adaptive, tmp_path, clipping, expected_batch) -> None:
    """The whole path of updates, with every record rounded by itself and no public branch."""
    adaptive = changed(
        adaptive,
        privacy__clipping=clipping,
        privacy__adaptive=adaptive.privacy.adaptive if clipping == "adaptive" else None,
        privacy__mechanism="multiclip",
        privacy__expected_batch=expected_batch,
    )
    # Threads share one generator for initial weights, processes do not; so let them come from a file.
    save_weights(tmp_path / "init.safetensors", initial_model(adaptive, ClipStore.open(adaptive.data)))
    adaptive = changed(adaptive, init=tmp_path / "init.safetensors")
    alone = together(changed(adaptive, out=tmp_path / "alone"), 1)
    for count in (2, 3):
        other = together(changed(adaptive, out=tmp_path / str(count)), count)
        assert same(state_of(alone), state_of(other))
        assert path_of(alone.folder) == path_of(other.folder)
        shutil.rmtree(other.folder)


def test_what_does_not_fit_is_refused(adaptive, base) -> None:
    with pytest.raises(UserError, match="dp-adam needs noise of constant size"):
        changed(adaptive, optimizer__name="dp-adam")
    with pytest.raises(UserError, match="clipping=per-layer; remove them"):
        set_up(changed(adaptive, privacy__clipping="per-layer"))
    with pytest.raises(UserError, match="needs noise"):
        set_up(changed(adaptive, privacy__noise_multiplier=0.0))
    plain = changed(adaptive, privacy__mechanism="sgd", privacy__noise_multiplier=None)
    assert set_up(plain).job.plan.make_clipping() is None
