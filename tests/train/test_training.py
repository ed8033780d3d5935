"""Training in process: what it leaves behind, what it promises, and going on after a crash."""

from __future__ import annotations

import json
import math
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from object_store import BUCKET, served
from safetensors import safe_open
from safetensors.torch import load_file
from support.changes import changed
from support.stores import write_videos

from raymaskdp import config as configuration
from raymaskdp import events, storage
from raymaskdp.errors import UserError
from raymaskdp.files import sha256_file
from raymaskdp.models import save_weights
from raymaskdp.privacy import Key, read_ledger
from raymaskdp.train import ClipStore, PrepareConfig, TrainConfig, evaluate, loop, prepare, train
from raymaskdp.train.run import departure
from raymaskdp.train.run.curve import StepReport, read_curve
from raymaskdp.train.run.job import TrainingJob, Worker
from raymaskdp.train.run.setup import initial_model, set_up

KEY = Key(secret=bytes(range(32)))


def weights(run: str | Path) -> dict[str, torch.Tensor]:
    return load_file(Path(run) / "model.safetensors")


def same_weights(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("mechanism", ["dpsgd", "multiclip", "maskdp", "maskdp-full"])
def test_a_run_spends_its_budget_and_leaves_its_papers(base, mechanism) -> None:
    config = changed(base, privacy__mechanism=mechanism, privacy__epsilon=1.0, privacy__noise_multiplier=None)
    result = train(config, key=KEY)  # of other keys one in 200 has a public lot that is empty
    folder = Path(result.run)
    assert 0.98 < result.epsilon <= 1.0
    assert result.clips == (1 if mechanism == "dpsgd" else 2)
    ledger = read_ledger(folder / "ledger.jsonl")
    assert ledger.steps_spent == 6
    assert math.isclose(ledger.plan.epsilon(), result.epsilon)
    assert ledger.is_of(ClipStore.open(config.data).fingerprint, KEY)
    curve = read_curve(folder / "curve.jsonl")
    assert [line.step for line in curve] == [1, 2, 3, 4, 5, 6]
    assert [line.epsilon for line in curve] == sorted(line.epsilon for line in curve)
    assert curve[-1].epsilon == pytest.approx(result.epsilon)
    # The loss is shown of public pixels alone.
    public = [line.public_loss for line in curve]
    assert all(loss is not None for loss in public) == mechanism.startswith("maskdp")
    assert all(loss is None for loss in public) != mechanism.startswith("maskdp")


@pytest.mark.parametrize("clipping", ["automatic", "per-layer"])
def test_other_clippings_can_be_chosen(base, clipping) -> None:
    other = changed(base, privacy__clipping=clipping, steps=2)
    assert set_up(other).job.plan.clipping == clipping
    assert set_up(other).job.folder != set_up(changed(base, steps=2)).job.folder
    assert read_ledger(Path(train(other).run) / "ledger.jsonl").plan.clipping == clipping


def test_without_privacy_nothing_is_promised(base) -> None:
    result = train(changed(base, privacy__mechanism="sgd", privacy__noise_multiplier=None))
    assert result.epsilon is None
    assert "no privacy" in str(result)
    assert "Infinity" not in (Path(result.run) / "curve.jsonl").read_text()


def test_without_privacy_the_weights_move_with_every_step(base) -> None:
    plain = changed(base, privacy__mechanism="sgd", privacy__noise_multiplier=None)
    once, twice = (weights(train(changed(plain, steps=steps)).run) for steps in (1, 2))
    assert not same_weights(once, twice)


def test_a_finished_run_is_not_redone(base, monkeypatch, capsys) -> None:
    monkeypatch.setenv(events.VARIABLE, "json")
    first = train(base)
    logged = [json.loads(line) for line in capsys.readouterr().err.splitlines()]  # and no bar
    assert [line["event"] for line in logged] == ["train begins", "train ends"]
    assert logged[1].keys() == {"time", "event", "run", "steps", "epsilon", "delta"}
    before = {p.name: p.stat().st_mtime_ns for p in Path(first.run).iterdir()}
    again = train(base)
    assert again == replace(first, finished_before=True)
    assert capsys.readouterr().err == ""
    assert "finished before" in str(again)
    assert {p.name: p.stat().st_mtime_ns for p in Path(first.run).iterdir()} == before


def test_identity_is_what_decides_the_outcome(base, store_path, tmp_path) -> None:
    run = set_up(base).job.identity.run
    assert set_up(changed(base, compute__micro_batch=2, compute__workers=2)).job.identity.run == run
    assert set_up(changed(base, out=tmp_path / "elsewhere")).job.identity.run == run
    assert set_up(changed(base, seed=1)).job.identity.run != run
    assert set_up(changed(base, privacy__clipping_norm=2.0)).job.identity.run != run
    moved = Path(shutil.copytree(store_path, tmp_path / "moved"))
    assert set_up(changed(base, data=moved)).job.identity.run == run
    about = json.loads((moved / "store.json").read_text())
    (moved / "store.json").write_text(json.dumps({**about, "fingerprint": "other"}))
    assert (
        set_up(changed(base, data=moved)).job.identity.run == run
    )  # it is published, and tells nothing of data
    (moved / "store.json").write_text(json.dumps({**about, "name": "other"}))
    assert set_up(changed(base, data=moved)).job.identity.run != run


def test_a_run_does_not_go_on_with_other_data(base, store_path, tmp_path) -> None:
    data = Path(shutil.copytree(store_path, tmp_path / "clips"))
    train(changed(base, data=data))
    about = json.loads((data / "store.json").read_text())
    (data / "store.json").write_text(json.dumps({**about, "fingerprint": "other"}))
    with pytest.raises(UserError, match="holds a run on other data"):
        train(changed(base, data=data))
    next((base.out).glob("*/result.json")).unlink()
    with pytest.raises(UserError, match="other data"):
        train(changed(base, data=data))


def test_the_result_is_the_average_of_the_weights(base, tmp_path) -> None:
    plain = train(changed(base, out=tmp_path / "plain"), key=KEY)
    averaged = train(changed(base, out=tmp_path / "averaged", optimizer__average=0.9), key=KEY)
    state = load_file(Path(averaged.run) / "checkpoint.safetensors")
    result = load_file(Path(averaged.run) / "model.safetensors")
    last = load_file(Path(plain.run) / "model.safetensors")
    for name, value in last.items():
        assert torch.equal(state[f"model.{name}"], value)  # it has no influence on the way
        assert torch.equal(result[name], state[f"average.{name}"])
    assert any(not torch.equal(result[name], last[name]) for name in last)


def test_copies_are_averaged_within_a_record(base) -> None:
    plan = set_up(changed(base, clips__copies=3)).job.plan
    assert plan.clips == 3 * set_up(base).job.plan.clips
    with pytest.raises(UserError, match="use multiclip"):
        changed(base, privacy__mechanism="dpsgd", clips__copies=2)


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("stop_after", [1, 2, 3, 5])
def test_a_resumed_run_equals_an_undisturbed_one(base, tmp_path, stop_after) -> None:
    name = "adam" if stop_after % 2 else "dp-adam"
    base = changed(
        base, optimizer__name=name, optimizer__learning_rate=0.01, optimizer__average=0.8, clips__copies=2
    )
    whole = train(changed(base, out=tmp_path / "whole"), key=KEY)
    job = set_up(base).job
    job.key_file.parent.mkdir(parents=True)
    job.key_file.write_bytes(KEY.secret)

    def stop(report: StepReport) -> None:
        if report.step == stop_after:
            raise Killed

    with pytest.raises(Killed):
        loop.run(job, Worker(), stop)
    resumed = train(base)
    assert same_weights(weights(whole.run), weights(resumed.run))
    assert read_ledger(Path(resumed.run) / "ledger.jsonl").steps_spent == 6  # redone steps release nothing
    curves = [
        [(line.step, line.public_loss, line.epsilon) for line in read_curve(Path(run) / "curve.jsonl")]
        for run in (whole.run, resumed.run)
    ]
    assert curves[0] == curves[1]


@pytest.mark.slow
def test_kill_9_at_any_moment_changes_nothing(base, tmp_path) -> None:
    base = changed(base, steps=25, compute__checkpoint_every=7)
    whole = train(changed(base, out=tmp_path / "whole"), key=KEY)
    settings = tmp_path / "run.yaml"
    settings.write_text(configuration.to_yaml(base))
    script = (
        "import sys, torch; torch.set_num_threads(1); from raymaskdp import config; "
        "from raymaskdp.privacy import Key; from raymaskdp.train import TrainConfig, train; "
        "train(config.load(TrainConfig, sys.argv[1]), key=Key(secret=bytes(range(32))))"
    )
    job = set_up(base).job
    for lines in (2, 19):
        process = subprocess.Popen([sys.executable, "-c", script, str(settings)])
        while len(read_curve(job.curve_file)) < lines and process.poll() is None:
            time.sleep(0.01)
        process.kill()
        process.wait()
    resumed = train(base)
    assert same_weights(weights(whole.run), weights(resumed.run))
    assert read_ledger(Path(resumed.run) / "ledger.jsonl").steps_spent == 25


def run_with_workers(
    config: TrainConfig, count: int, stop_after: int | None = None
) -> dict[str, torch.Tensor]:
    """The loop on `count` threads that add up like workers of Ray Train do, maybe stopped on the way."""
    job = set_up(config).job
    job.key_file.parent.mkdir(parents=True, exist_ok=True)
    job.key_file.write_bytes(KEY.secret)
    barrier, shared = threading.Barrier(count), {}

    def all_reduce(rank: int):
        def add(tensor: torch.Tensor) -> None:
            shared[rank] = tensor.clone()
            barrier.wait()
            tensor.copy_(sum(shared[other] for other in range(count)))
            barrier.wait()

        return add

    failures = []

    def stop(report: StepReport) -> None:
        if report.step == stop_after:
            raise Killed

    def work(rank: int) -> None:
        try:
            loop.run(job, Worker(rank, count, all_reduce(rank)), stop)
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            failures.append(error)
            barrier.abort()

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [type(failure) for failure in failures[:1]] == ([] if stop_after is None else [Killed]), failures
    state = load_file(job.checkpoint_file)
    return {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}


@pytest.mark.parametrize("expected_batch", [0.5, 6.0])
def test_one_two_and_three_workers_make_the_same_model(base, tmp_path, expected_batch) -> None:
    """Small lots leave workers, and whole steps, without a record; they take part all the same."""
    # Threads share one generator for initial weights, processes do not; so let them come from a file.
    save_weights(tmp_path / "init.safetensors", initial_model(base, ClipStore.open(base.data)))
    base = changed(base, init=tmp_path / "init.safetensors", privacy__expected_batch=expected_batch)
    alone = weights(train(changed(base, out=tmp_path / "alone"), key=KEY).run)
    for count in (2, 3):
        together = run_with_workers(changed(base, out=tmp_path / str(count)), count)
        for name in alone:
            torch.testing.assert_close(alone[name], together[name], rtol=1e-4, atol=1e-5)


def test_the_number_of_workers_may_change_on_the_way(base, tmp_path) -> None:
    """One is stopped after a step that its checkpoint has not seen; then there are two, and one again."""
    save_weights(tmp_path / "init.safetensors", initial_model(base, ClipStore.open(base.data)))
    base = changed(base, init=tmp_path / "init.safetensors")
    alone = weights(train(changed(base, out=tmp_path / "alone"), key=KEY).run)
    moving = changed(base, out=tmp_path / "moving")
    for count, stop_after in ((1, 3), (2, 5), (1, None)):
        together = run_with_workers(moving, count, stop_after)
    # The third step was announced twice, with other noise, so the budget ends an update earlier.
    assert read_ledger(set_up(moving).job.ledger_file).steps_spent == 6
    assert checkpoint_step(set_up(moving).job) == 5
    assert not same_weights(alone, together)
    result = train(moving)
    assert (result.updates, result.steps) == (5, 6)
    assert "1 of them repeated and counted again" in str(result)


def checkpoint_step(job: TrainingJob) -> int:
    with safe_open(job.checkpoint_file, framework="pt") as opened:
        return int(opened.metadata()["step"])


def test_reading_ahead_changes_nothing(base, tmp_path) -> None:
    runs = [
        weights(train(changed(base, out=tmp_path / str(ahead), compute__read_ahead=ahead), key=KEY).run)
        for ahead in (0, 3)
    ]
    assert same_weights(*runs)


def test_bfloat16_is_a_run_of_its_own_near_the_other(base, tmp_path) -> None:
    """Near: the passes are rounded to 8 bits. Of its own: a redone step must not come out otherwise."""
    gentle = changed(base, optimizer__learning_rate=0.05, optimizer__momentum=0.0)
    exact = train(changed(gentle, out=tmp_path / "exact"), key=KEY)
    rounded_config = changed(gentle, out=tmp_path / "rounded", compute__precision="bfloat16")
    rounded = train(rounded_config, key=KEY)
    assert Path(exact.run).name != Path(rounded.run).name
    first, second = weights(exact.run), weights(rounded.run)
    start = initial_model(gentle, ClipStore.open(gentle.data)).state_dict()
    assert not same_weights(first, second)
    assert all(value.dtype == torch.float32 for value in second.values())
    moved = math.sqrt(sum(float(((first[name] - start[name]) ** 2).sum()) for name in first))
    apart = math.sqrt(sum(float(((first[name] - second[name]) ** 2).sum()) for name in first))
    assert apart < 0.05 * moved
    spilled = train(
        changed(rounded_config, out=tmp_path / "spilled", compute__checkpoint_activations=True), key=KEY
    )
    assert Path(spilled.run).name == Path(rounded.run).name
    for name, value in weights(spilled.run).items():
        torch.testing.assert_close(value, second[name], rtol=1e-3, atol=1e-5)


def test_threads_are_what_was_asked_for(base) -> None:
    before, seen = torch.get_num_threads(), set()
    train(changed(base, compute__threads=2), on_step=lambda report: seen.add(torch.get_num_threads()))
    assert seen == {2}
    assert torch.get_num_threads() == before


def test_a_warned_worker_leaves_a_checkpoint(base, monkeypatch) -> None:
    """At each check that reports it; without a warning there is no early checkpoint."""
    monkeypatch.setattr(departure, "NOTICE_S", -1.0)  # asks in every step
    base = changed(base, compute__checkpoint_every=1000)
    job = set_up(base).job
    job.key_file.parent.mkdir(parents=True)
    job.key_file.write_bytes(KEY.secret)
    answers = iter([None, None, math.inf, None, None, None])
    there = []
    worker = Worker(leaves_at=lambda: next(answers))
    loop.run(job, worker, lambda report: there.append(job.checkpoint_file.exists()))
    assert there == [False, False, True, True, True, True]


def test_a_warned_worker_makes_no_step_that_would_be_lost(base, monkeypatch) -> None:
    """It goes on while there is time, waits once near the end, and goes on if the machine is still there."""
    monkeypatch.setattr(departure, "NOTICE_S", -1.0)
    monkeypatch.setattr(departure, "GRACE_S", 1.0)
    job = set_up(changed(base, compute__checkpoint_every=1000)).job
    job.key_file.parent.mkdir(parents=True)
    job.key_file.write_bytes(KEY.secret)
    far, near = time.time() + 1000, time.time() - 1
    answers = iter([None, far, near, near, None, None])
    steps: list[StepReport] = []
    waits = []

    def sleep(seconds: float) -> None:
        waits.append((len(steps), seconds))

    clock = SimpleNamespace(time=time.time, monotonic=time.monotonic, sleep=sleep)
    monkeypatch.setattr(departure, "time", clock)
    loop.run(job, Worker(leaves_at=lambda: next(answers)), steps.append)
    assert waits == [(3, 1.0)]  # between the third step, which heard that the end is here, and the fourth
    assert read_ledger(job.ledger_file).steps_spent == len(steps) == 6


def test_tensorboard_gets_the_public_curve_and_no_clock(base) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    job = set_up(changed(base, compute__tensorboard=True)).job

    def stop(report: StepReport) -> None:
        if report.step == 5:  # after the last checkpoint, at 4
            raise Killed

    with pytest.raises(Killed):
        train(job.config, key=KEY, on_step=stop)
    train(job.config)
    events = EventAccumulator(str(job.folder / "tensorboard")).Reload()
    assert set(events.Tags()["scalars"]) == {"epsilon", "public_loss"}
    curve = read_curve(job.curve_file)
    for name in ("epsilon", "public_loss"):
        shown = events.Scalars(name)
        assert [event.step for event in shown] == [line.step for line in curve]
        assert [event.value for event in shown] == pytest.approx([getattr(line, name) for line in curve])
        assert [event.wall_time for event in shown] == [line.step for line in curve]  # no time of day


def test_weights_and_biases_gets_the_public_curve_at_the_end(base, monkeypatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    job = set_up(changed(base, compute__wandb=True)).job

    def nothing_yet(report: StepReport) -> None:
        # A watcher of the same step is called after those of `compute`.
        assert (job.folder / "wandb").exists() == (report.step == job.plan.steps)

    train(job.config, on_step=nothing_yet)
    (written,) = (job.folder / "wandb").glob("offline-run-*/*.wandb")
    content = written.read_bytes()
    assert all(name in content for name in (b"epsilon", b"public_loss"))
    store = ClipStore.open(base.data)
    private = [socket.gethostname().encode()] if len(socket.gethostname()) > 3 else []
    private += [video.video_id.encode() for video in store.videos]
    assert not any(name in content for name in private)


def test_micro_batches_change_nothing(base, tmp_path) -> None:
    runs = [
        weights(train(changed(base, out=tmp_path / str(size), compute__micro_batch=size), key=KEY).run)
        for size in (1, 3, 16)
    ]
    for other in runs[1:]:
        for name in runs[0]:
            torch.testing.assert_close(runs[0][name], other[name], rtol=1e-4, atol=1e-5)


def with_pixels(store_path: Path, target: Path, video: int, change) -> Path:
    """A copy of a store with the sensitive pixels of one video changed."""
    copy = Path(shutil.copytree(store_path, target))
    store = ClipStore.open(copy)
    name = store.videos[video].video_id
    frames, sensitive = store.read(video, np.arange(store.videos[video].num_frames))
    np.save(copy / "clips" / f"{name}.frames.npy", change(frames.copy(), sensitive))
    table = pd.read_parquet(copy / "videos.parquet")
    digest = sha256_file(copy / "clips" / f"{name}.frames.npy")
    table.loc[table["index"] == video, "frames_sha256"] = digest
    write_videos(copy, table, fingerprint="changed")
    return copy


def zero_out(frames: np.ndarray, sensitive: np.ndarray) -> np.ndarray:
    frames[sensitive] = 128
    return frames


def replace_all(frames: np.ndarray, sensitive: np.ndarray) -> np.ndarray:
    frames[sensitive] = 255 - frames[sensitive]
    return frames


@pytest.mark.parametrize(
    ("mechanism", "change", "bound"),
    [("maskdp", zero_out, 1.0), ("maskdp", replace_all, 2.0), ("maskdp-full", zero_out, 2.0)],
)
def test_one_record_moves_a_step_by_at_most_its_sensitivity(
    base, store_path, tmp_path, mechanism, change, bound
) -> None:
    """Through the whole path, store to weights: everyone in the lot, no noise, one plain step."""
    clipping_norm = 1e-3
    base = changed(
        base,
        steps=1,
        seed=3,
        privacy__mechanism=mechanism,
        privacy__noise_multiplier=0.0,
        privacy__expected_batch=18.0,
        privacy__clipping_norm=clipping_norm,
        optimizer__learning_rate=1.0,
        optimizer__momentum=0.0,
        optimizer__schedule="constant",
    )
    one = train(changed(base, out=tmp_path / "one"), key=KEY)
    other_store = with_pixels(store_path, tmp_path / "clips", 4, change)
    other = train(changed(base, out=tmp_path / "other", data=other_store), key=KEY)
    before, after = weights(one.run), weights(other.run)
    moved = math.sqrt(sum(float(((before[n] - after[n]).double() ** 2).sum()) for n in before))
    limit = bound * clipping_norm / 18
    assert 0 < moved <= limit * (1 + 1e-3)  # float32 weights of size 1 carry steps of size 1e-4
    assert one.public_loss == other.public_loss
    assert one.public_loss is not None


def test_public_stream_is_bit_equal_whatever_is_sensitive(base, store_path, tmp_path) -> None:
    """Trained on the public branch alone, two stores that differ in every sensitive pixel agree."""
    quiet = changed(base, privacy__noise_multiplier=0.0, privacy__clipping_norm=1e-30)
    first = train(changed(quiet, out=tmp_path / "one"), key=KEY)
    store = store_path
    for video in range(18):
        store = with_pixels(store, tmp_path / f"clips{video}", video, replace_all)
    second = train(changed(quiet, out=tmp_path / "two", data=store), key=KEY)
    assert same_weights(weights(first.run), weights(second.run))
    curves = [[line.public_loss for line in read_curve(Path(r.run) / "curve.jsonl")] for r in (first, second)]
    assert curves[0] == curves[1]


def test_cached_features_change_nothing(base, tmp_path) -> None:
    linear = changed(base, scheme="linear", steps=20)
    cached = train(changed(linear, out=tmp_path / "cached"), key=KEY)
    computed = train(changed(linear, out=tmp_path / "computed", compute__cache_features=False), key=KEY)
    first, second = weights(cached.run), weights(computed.run)
    assert float(first["head.weight"].abs().max()) > 0.01
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-3, atol=1e-5)
    assert cached.trainable == first["head.weight"].numel() + first["head.bias"].numel()


def test_a_frozen_backbone_stays_as_it_was(base, tmp_path) -> None:
    pretrained = train(changed(base, privacy__mechanism="sgd", privacy__noise_multiplier=None))
    # Beside the papers of its run it would be refused: it tells about the same data.
    init = Path(shutil.copy(Path(pretrained.run) / "model.safetensors", tmp_path / "public.safetensors"))
    before = weights(pretrained.run)
    linear = weights(train(changed(base, scheme="linear", init=init)).run)
    selective = weights(train(changed(base, scheme="selective", init=init)).run)
    for name in before:
        learns = name.startswith("head.")
        assert torch.equal(before[name], linear[name]) != learns, name
        assert torch.equal(before[name], selective[name]) != (learns or "norm" in name), name
    with pytest.raises(UserError, match="scratch starts from random weights"):
        changed(base, scheme="scratch", init=init)


def test_the_secret_stays_where_it_is(base) -> None:
    result = train(base, key=KEY)
    private = Path(result.run) / "private"
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert stat.S_IMODE((private / "key").stat().st_mode) == 0o600
    for path in Path(result.run).iterdir():
        if path != private:
            content = path.read_bytes()
            assert KEY.secret not in content
            assert KEY.secret.hex().encode() not in content


def test_secrets_differ_from_run_to_run(base, tmp_path) -> None:
    keys = {
        (Path(train(changed(base, out=tmp_path / n)).run) / "private/key").read_bytes() for n in ("a", "b")
    }
    assert len(keys) == 2


def test_a_clip_that_cannot_be_read_counts_as_nothing(base, store_path, tmp_path) -> None:
    broken = Path(shutil.copytree(store_path, tmp_path / "broken"))

    def lose(report: StepReport) -> None:
        for path in (broken / "clips").glob("v00*.frames.npy"):
            path.unlink(missing_ok=True)

    result = train(changed(base, data=broken), on_step=lose)
    assert result.steps == 6
    assert all(torch.isfinite(value).all() for value in weights(result.run).values())


def test_subjects_can_be_the_unit(base) -> None:
    result = train(changed(base, privacy__unit="subject", privacy__expected_batch=2.0))
    assert (result.records, result.unit) == (4, "subject")
    assert "for one subject" in str(result)


def test_checkpoints_of_another_plan_are_refused(base) -> None:
    run = Path(train(base).run)
    other = set_up(changed(base, privacy__clipping_norm=0.5)).job
    other.folder.mkdir(parents=True)
    shutil.copy(run / "checkpoint.safetensors", other.checkpoint_file)
    with pytest.raises(UserError, match="another run or privacy plan"):
        train(changed(base, privacy__clipping_norm=0.5))
    other.checkpoint_file.write_bytes(b"\0" * 100)
    with pytest.raises(UserError, match="damaged"):
        train(changed(base, privacy__clipping_norm=0.5))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"privacy__noise_multiplier": None, "privacy__epsilon": 0.0}, r"privacy\.epsilon must be"),
        ({"privacy__noise_multiplier": None, "privacy__epsilon": -1.0}, r"privacy\.epsilon must be"),
        ({"privacy__noise_multiplier": None}, "either privacy.epsilon or privacy.noise_multiplier"),
        ({"privacy__mechanism": "sgd", "privacy__epsilon": 1.0}, "has no epsilon|has no noise"),
        ({"privacy__mechanism": "dpsdg"}, "must be one of sgd, dpsgd"),
        ({"privacy__clips": 9}, "must not exceed clips.draws"),
        ({"privacy__delta": 1.0}, "delta must be"),
        ({"scheme": "partial"}, "scheme must be one of"),
        ({"split": "val"}, "no labelled video of split 'val'"),
        ({"init": Path("missing.safetensors")}, "Cannot read the weights"),
        ({"data": Path("nowhere")}, "not a clip store"),
        ({"steps": 0}, "steps must be"),
        ({"compute__workers": (0, 2)}, "compute.workers must be"),
        ({"compute__workers": (3, 2)}, "the most must be"),
        ({"compute__precision": "float16"}, "precision must be"),
    ],
)
def test_settings_that_do_not_go_together(base, changes, message) -> None:
    with pytest.raises(UserError, match=message):
        train(changed(base, **changes))


@pytest.mark.slow
def test_learning_works_and_is_measured(base) -> None:
    config = changed(
        base,
        steps=80,
        privacy__mechanism="sgd",
        privacy__noise_multiplier=None,
        privacy__expected_batch=18.0,
        optimizer__name="adam",
        optimizer__learning_rate=0.01,
        model__options={**base.model.options, "motion": True},
    )
    run = train(config).run
    assert evaluate(run, split="train").top1 >= 0.9
    measured = evaluate(run)
    assert measured.top1 >= 0.6  # chance is a third
    assert (measured.videos, measured.views, measured.split) == (9, 3, "test")
    confusion = np.array(measured.confusion)
    assert confusion.sum() == 9
    assert np.trace(confusion) / 9 == pytest.approx(measured.top1)
    assert measured.mean_class == pytest.approx(np.mean(list(measured.per_class.values())))
    assert "ε does not cover" in str(measured)
    assert json.loads((Path(run) / "evaluation.json").read_text())["top1"] == measured.top1


def test_only_finished_runs_are_evaluated(base, tmp_path) -> None:
    with pytest.raises(UserError, match="no finished run"):
        evaluate(tmp_path)


def test_data_may_lie_on_an_object_store(base, anonymized, tmp_path, monkeypatch) -> None:
    """The same run as from disk; features are left beside the clips, for other machines."""
    monkeypatch.setenv("RAYMASKDP_CACHE", str(tmp_path / "cache"))
    base = changed(base, scheme="linear", seed=31, steps=2)
    here = train(changed(base, out=tmp_path / "here"), key=KEY)
    with served():
        url = f"{BUCKET}/clips"
        prepare(anonymized, url, PrepareConfig(width=32, height=24))
        there = train(replace(base, data=url), key=KEY)
        assert [text for text in there.warnings if "counted in no budget" in text]
        assert url not in " ".join(there.warnings)  # they are published
        assert not [text for text in here.warnings if "budget" in text]
        assert evaluate(there.run).videos == 9
        assert len(storage.versions(f"{url}/features")) == 1
        shutil.rmtree(tmp_path / "cache")
        versions = storage.versions(f"{url}/features")
        train(changed(base, data=url, privacy__clipping_norm=0.5))  # on another machine
        assert storage.versions(f"{url}/features") == versions
    assert same_weights(weights(here.run), weights(there.run))
