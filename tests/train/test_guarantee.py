"""What is published tells nothing without noise, workers agree, and redone steps are the same or counted."""

from __future__ import annotations

import fnmatch
import itertools
import json
import re
import shlex
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from support.changes import changed
from support.stores import write_videos
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from torch import nn

from raymaskdp.errors import UserError
from raymaskdp.files import MADE, sha256_file
from raymaskdp.models import save_weights
from raymaskdp.privacy import Key, read_ledger
from raymaskdp.privacy.prices.accounting import composed_cost
from raymaskdp.train import ClipStore, PrepareConfig, TrainConfig, evaluate, loop, prepare, train
from raymaskdp.train.data.batches import FeatureInputs
from raymaskdp.train.guarantee import run_start, step_circumstances
from raymaskdp.train.guarantee.agreement import digest_of_all, require_agreement
from raymaskdp.train.guarantee.check import budget_of, verify
from raymaskdp.train.guarantee.earlier_runs import epsilon_with_before, warnings_of
from raymaskdp.train.guarantee.step_circumstances import circumstances
from raymaskdp.train.run import setup
from raymaskdp.train.run.curve import StepReport, read_curve
from raymaskdp.train.run.job import TrainingJob, Worker
from raymaskdp.train.run.setup import initial_model, set_up

ROOT = Path(__file__).parents[2]
KEY = Key(secret=bytes(range(32)))


def adjacent(store_path: Path, copy: Path, record: int) -> Path:
    """The store, but the sensitive tokens of a training video are all fill; and its digests."""
    shutil.copytree(store_path, copy, ignore=shutil.ignore_patterns("features"))
    store = ClipStore.open(copy)
    video = store.split("train")[record]
    frames, sensitive = store.read(video.index, np.arange(video.num_frames))
    assert sensitive.any()
    assert not sensitive.all()
    np.save(
        copy / "clips" / f"{video.video_id}.frames.npy", np.where(sensitive[..., None], store.fill, frames)
    )
    table = pd.read_parquet(copy / "videos.parquet")
    digest = sha256_file(copy / "clips" / f"{video.video_id}.frames.npy")
    table.loc[table["index"] == video.index, "frames_sha256"] = digest
    write_videos(copy, table, fingerprint="of other frames")
    return copy


def left_out_of_copies() -> list[str]:
    """The patterns of the one command that all pages give for a copy to publish."""
    pages = ("docs/train.md", "docs/privacy-guarantee.md", "docs/sweep.md")
    commands = [re.findall(r"rsync -r (.*) RUN/ COPY/", (ROOT / page).read_text()) for page in pages]
    assert [len(found) for found in commands] == [1, 1, 1]
    assert len({found[0] for found in commands}) == 1
    assert {"private", "wandb"} < set(shlex.split(commands[0][0]))  # and -r copies no times of files
    return [word for word in shlex.split(commands[0][0]) if word != "--exclude"]


def scored(run: str) -> Path:
    """The folder of a run after its scores on the training videos."""
    evaluate(run, split="train", views=1)
    evaluate(run, split="train", views=1, baseline=run)
    return Path(run)


def published(run: Path) -> dict[str, object]:
    """Everything of a run that the documented command copies, and its list; not what is random by itself."""
    found: dict[str, object] = {"folder": run.name}
    for path in sorted(run.rglob("*")):
        name = str(path.relative_to(run))
        parts = path.relative_to(run).parts
        left_out = any(fnmatch.fnmatch(part, one) for part in parts for one in left_out_of_copies())
        if not path.is_file() or (left_out and path.name != MADE) or parts[0] == "private":
            continue
        if path.name == "ledger.jsonl":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            assert [line["session"].pop("data") for line in lines if "session" in line]  # commitments
            found[name] = [{key: value for key, value in line.items() if key != "hash"} for line in lines]
        elif path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as opened:
                found[f"{name} about"] = opened.metadata()
            found[name] = {key: value.numpy().tobytes() for key, value in load_file(path).items()}
        elif name.startswith("tensorboard"):
            # Its name, and its first event, say when the file was begun, and by which process.
            events = [event for event in EventFileLoader(str(path)).Load() if event.HasField("summary")]
            found["tensorboard"] = [event.SerializeToString(deterministic=True) for event in events]
        else:
            found[name] = path.read_bytes()
    return found


def test_adjacent_stores_publish_the_same_but_for_noise(base, store_path, tmp_path) -> None:
    """The record that differs is in no lot, so whatever differs is a function of the data without noise."""
    base = changed(base, data=tmp_path / "clips", compute__tensorboard=True, privacy__expected_batch=3.0)
    shutil.copytree(store_path, tmp_path / "clips", ignore=shutil.ignore_patterns("features"))
    plan = set_up(base).job.plan
    drawn = np.concatenate([plan.lot(KEY, step) for step in range(plan.steps)])
    absent = next(record for record in range(plan.num_records) if record not in drawn)
    run = scored(train(base, key=KEY).run)
    first = published(run)
    scores = [run / "evaluation.json", *run.glob("per_class_change.*")]
    assert len(scores) == 3
    assert not any(sha256_file(path) in (run / MADE).read_text() for path in scores)
    assert not {path.name for path in scores} & first.keys()
    evaluate(run, split="train", views=1)  # it still recognizes its own files
    adjacent(tmp_path / "clips", tmp_path / "adjacent", absent)
    (tmp_path / "clips").rename(tmp_path / "original")
    base.out.rename(tmp_path / "first runs")
    (tmp_path / "adjacent").rename(tmp_path / "clips")
    second = published(scored(train(base, key=KEY).run))
    assert first.keys() == second.keys() > {"ledger.jsonl", "checkpoint.safetensors about", "tensorboard"}
    assert [name for name in first if first[name] != second[name]] == []


def test_cached_features_are_committed_to_and_not_told(base, store_path, tmp_path) -> None:
    """The ledger has no digest of them, with which anyone could test a guess of a video."""
    linear = changed(base, scheme="linear", seed=29)
    ledger = Path(train(linear, key=KEY).run) / "ledger.jsonl"
    store = ClipStore.open(store_path)
    (committed,) = {one.circumstances["features"] for one in read_ledger(ledger).sessions}
    inputs, _ = set_up(linear).open_inputs(torch.device("cpu"))
    assert isinstance(inputs, FeatureInputs)
    assert committed == KEY.commit("features", inputs.digest())
    digests = {inputs.digest(), store.fingerprint, *(video.frames_sha256 for video in store.videos)}
    assert not any(digest in ledger.read_text() for digest in digests)


class Late(nn.Module):
    """A frozen parameter takes up what passes, but not during the tests before the first step."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.inner, self.passes = model, 0
        self.seen = nn.Parameter(torch.zeros(3), requires_grad=False)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        self.passes += 1
        if self.passes > 100:
            self.seen.data += clips.detach().mean((0, 2, 3, 4))
        return self.inner(clips)


def test_what_is_not_trained_is_not_saved_if_it_changes(base, monkeypatch) -> None:
    monkeypatch.setattr(setup, "initial_model", lambda config, store: Late(initial_model(config, store)))
    long = changed(base, steps=60, privacy__mechanism="multiclip", compute__checkpoint_every=60)
    with pytest.raises(UserError, match="'seen' of the model is not trained but changed during training"):
        train(long)
    assert not set_up(long).job.checkpoint_file.exists()
    without = changed(long, privacy__mechanism="sgd", privacy__noise_multiplier=None)
    assert train(without).updates == 60  # nothing is promised


def test_the_owner_can_still_check_the_data(base, store_path, tmp_path) -> None:
    run = Path(train(base).run)
    verified = verify(run / "ledger.jsonl", data=str(base.data))
    assert verified.data
    assert verify(run, data=str(base.data)) == verified
    deltas = [one.delta for one in verified.others]
    assert deltas == sorted(deltas, reverse=True)
    assert f"at least {verified.misses:.1%}" in str(verified)
    other = adjacent(store_path, tmp_path / "other", 0)
    with pytest.raises(UserError, match="was on other data"):
        verify(run / "ledger.jsonl", data=str(other))
    shutil.rmtree(run / "private")
    with pytest.raises(UserError, match="only be checked with its key"):
        verify(run / "ledger.jsonl", data=str(base.data))


def together(count: int, work: Callable[[int, Callable[[torch.Tensor], None]], None]) -> list[BaseException]:
    """Run `work` in threads that add up as workers do; what they raise, by rank."""
    barrier, shared = threading.Barrier(count, timeout=60), {}
    failures: dict[int, BaseException] = {}

    def body(rank: int) -> None:
        def all_reduce(tensor: torch.Tensor) -> None:
            shared[rank] = tensor.clone()
            barrier.wait()
            tensor.copy_(sum(shared[other] for other in range(count)))
            barrier.wait()

        try:
            work(rank, all_reduce)
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            failures[rank] = error

    threads = [threading.Thread(target=body, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [failures[rank] for rank in sorted(failures)]


def started(config: TrainConfig, key: Key | None) -> TrainingJob:
    job = set_up(config).job
    job.key_file.parent.mkdir(parents=True, exist_ok=True)
    if key is not None:
        job.key_file.write_bytes(key.secret)
    return job


@pytest.mark.parametrize(
    ("key", "says"),
    [
        (Key(secret=bytes(32)), "Worker 1 does not have the run's folder of worker 0"),
        (None, "Worker 1 cannot see the run's folder"),
    ],
)
def test_workers_with_other_folders_are_refused_before_the_first_step(base, tmp_path, key, says) -> None:
    """Two machines on which `out` is a local folder: each has its own, with a key of its own or none."""
    jobs = [started(base, KEY), started(changed(base, out=tmp_path / "other node"), key)]

    def work(rank: int, all_reduce: Callable[[torch.Tensor], None]) -> None:
        loop.run(jobs[rank], Worker(rank, 2, all_reduce))

    failures = together(2, work)
    assert [type(failure) for failure in failures] == [UserError, UserError]
    assert all(says in str(failure) for failure in failures)
    assert not any(job.ledger_file.exists() or job.checkpoint_file.exists() for job in jobs)


def test_a_folder_that_the_driver_cannot_see_is_refused_before_the_first_step(base) -> None:
    """The driver leaves the key in its folder; a worker that does not find it there is elsewhere."""
    job = started(base, None)
    with pytest.raises(UserError, match=r"Worker 0 cannot see the run's folder; give an out that"):
        loop.run(job, Worker())
    assert not job.ledger_file.exists()


def other_data(base: TrainConfig, folder: Path) -> TrainConfig:
    return changed(base, data=adjacent(Path(base.data), folder / "adjacent", 0))


def other_checkpoint(base: TrainConfig, folder: Path) -> TrainConfig:
    stopped(started(base, KEY), 3)
    return base


@pytest.mark.parametrize(
    ("other", "fact"),
    [
        (other_data, "the data"),
        (other_checkpoint, "the checkpoint"),
        (lambda base, folder: changed(base, privacy__noise_multiplier=2.0), "the plan"),
        (lambda base, folder: changed(base, optimizer__learning_rate=0.1), "the settings"),
    ],
)
def test_workers_that_differ_in_anything_are_refused_before_the_first_step(
    base, tmp_path, other, fact
) -> None:
    """Each with the same key, in folders that are not the same."""
    elsewhere = other(changed(base, out=tmp_path / "other node"), tmp_path)
    jobs = [started(base, KEY), started(elsewhere, KEY)]

    def work(rank: int, all_reduce: Callable[[torch.Tensor], None]) -> None:
        loop.run(jobs[rank], Worker(rank, 2, all_reduce))

    failures = together(2, work)
    assert len(failures) == 2
    assert all(f"Worker 1 does not have {fact} of worker 0" in str(failure) for failure in failures)
    assert not jobs[0].ledger_file.exists()


@pytest.mark.parametrize("library", ["raymaskdp", "code", "torch", "numpy", "transformers"])
def test_workers_with_other_versions_are_refused_before_the_first_step(base, monkeypatch, library) -> None:
    """Sums would be rounded in two ways."""
    job, asked = started(base, KEY), itertools.count()

    def about(*arguments, **named) -> dict[str, str]:
        found = circumstances(*arguments, **named)
        return found | {library: f"{found[library]}.post{next(asked)}"}

    monkeypatch.setattr(run_start, "circumstances", about)
    failures = together(2, lambda rank, all_reduce: loop.run(job, Worker(rank, 2, all_reduce)))
    assert len(failures) == 2
    assert all("Worker 1 does not have the versions of worker 0" in str(failure) for failure in failures)
    assert not job.ledger_file.exists()


@pytest.mark.parametrize("name", ["the checkpoint", "the plan", "the data"])
def test_every_fact_is_compared(name) -> None:
    def work(rank: int, all_reduce: Callable[[torch.Tensor], None]) -> None:
        facts = {"the checkpoint": "3", "the plan": "a", "the data": "b"}
        facts[name] += "!" if rank == 2 else ""
        require_agreement(facts, Worker(rank, 3, all_reduce))

    failures = together(3, work)
    assert len(failures) == 3
    assert all(f"Worker 2 does not have {name} of worker 0" in str(failure) for failure in failures)


class Forgetful(nn.Module):
    """A model with dropout, whose mask does not depend on a key."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.inner, self.drop = model, nn.Dropout(0.5)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return self.inner(self.drop(clips))


class Killed(BaseException):
    """Stands for the end of the process."""


def stopped(job: TrainingJob, step: int) -> None:
    def stop(report: StepReport) -> None:
        if report.step == step:
            raise Killed

    with pytest.raises(Killed):
        loop.run(job, Worker(), stop)


def model_at(job: TrainingJob) -> dict[str, torch.Tensor]:
    return {k: v for k, v in load_file(job.checkpoint_file).items() if k.startswith("model.")}


def test_a_redone_step_with_dropout_is_the_same_step(base, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(
        setup, "initial_model", lambda config, store: Forgetful(initial_model(config, store)).train()
    )
    whole, cut = (started(changed(base, out=tmp_path / name), KEY) for name in ("whole", "cut"))
    torch.manual_seed(1)
    loop.run(whole, Worker())
    torch.manual_seed(2)
    stopped(cut, 3)  # its checkpoint has two steps
    torch.manual_seed(3)
    loop.run(cut, Worker())
    first, second = model_at(whole), model_at(cut)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert read_ledger(cut.ledger_file).steps_spent == 6


@pytest.mark.parametrize(
    "compute",
    [{"micro_batch": 2}, {"threads": 2}, {"checkpoint_activations": True}, {"cache_features": False}],
)
def test_a_step_redone_otherwise_is_counted_and_has_other_noise(base, compute) -> None:
    job = started(base, KEY)
    stopped(job, 3)
    other = started(changed(base, **{f"compute__{name}": value for name, value in compute.items()}), None)
    assert other.folder == job.folder
    loop.run(other, Worker())
    ledger = read_ledger(job.ledger_file)
    keys = {key for key, step in ledger.releases if step == 2}
    assert len(keys) == 2
    assert ledger.steps_spent == 6
    assert max(step for _, step in ledger.releases) == 4  # an update less, for the one that was made twice
    assert read_curve(job.curve_file)[-1].epsilon == pytest.approx(ledger.plan.epsilon())


def test_a_worker_s_own_machine_is_a_circumstance(base, monkeypatch) -> None:
    """One of two workers is replaced by one on another processor, which rounds in another way."""
    seen = []

    def work(rank: int, all_reduce: Callable[[torch.Tensor], None], second: str) -> None:
        seen.append(
            (rank, digest_of_all("a processor" if rank == 0 else second, Worker(rank, 2, all_reduce)))
        )

    for second in ("a processor", "another", "another"):
        assert together(2, lambda rank, all_reduce, second=second: work(rank, all_reduce, second)) == []
    digests = [digest for _, digest in seen]
    assert digests[0] == digests[1] != digests[2]
    assert len(set(digests[2:])) == 1
    # And so the step is redone with other noise: as where the one worker's own processor is another.
    job = started(base, KEY)
    stopped(job, 3)
    monkeypatch.setattr(step_circumstances, "_processor", lambda: "another")
    loop.run(job, Worker())
    assert len({key for key, step in read_ledger(job.ledger_file).releases if step == 2}) == 2


def test_the_machines_of_all_workers_are_in_the_ledger(base) -> None:
    job = started(base, KEY)
    assert together(2, lambda rank, all_reduce: loop.run(job, Worker(rank, 2, all_reduce))) == []
    (session,) = read_ledger(job.ledger_file).sessions
    assert len(session.circumstances["machines"]) == 24


def test_a_key_without_its_ledger_is_used_no_more(base) -> None:
    """The ledger is removed and training is repeated, on data prepared again under the same name."""
    run = Path(train(base).run)
    used = Key.load_or_draw(run / "private" / "key")
    for name in ("ledger.jsonl", "result.json", "checkpoint.safetensors"):
        (run / name).unlink()
    again = Path(train(base).run)
    assert again == run
    assert Key.load_or_draw(run / "private" / "key") != used
    assert [one.run for one in budget_of(str(base.data)).runs].count(str(run)) == 2


def test_a_model_that_began_with_a_private_one_says_what_both_cost(base, tmp_path) -> None:
    """Its own ε is not that of the model, which the statement is about."""
    first = train(base)
    weights = Path(first.run) / "model.safetensors"
    then = changed(base, init=weights, steps=4)
    second = train(then)
    (warning,) = [one for one in second.warnings if "initial weights" in one]
    both = composed_cost([set_up(base).job.plan.event(), set_up(then).job.plan.event()], 1e-2).epsilon
    assert both > second.epsilon
    assert f"epsilon = {both:.4g} at delta = 0.01, and not {second.epsilon:.4g} alone" in warning
    assert first.run in warning
    assert warning in str(second)
    checked = verify(Path(second.run))
    assert warning in checked.guarantee_statement
    assert second.model_epsilon == checked.model_epsilon == pytest.approx(both)
    assert f"ε = {both:.3g} at δ = 0.01 for the model" in str(second)
    assert str(checked).startswith(f"ε = {both:.4g} at δ = 0.01 for the model")
    assert "initial weights" not in verify(Path(first.run)).guarantee_statement
    shutil.move(base.data, tmp_path / "gone")
    try:
        assert "can only be told beside its clip store" in verify(Path(second.run)).guarantee_statement
    finally:
        shutil.move(tmp_path / "gone", base.data)


def test_earlier_private_runs_count_whatever_their_videos_are(base, anonymized, tmp_path) -> None:
    """Whether two stores share a video is private, so what is published must not depend on it."""
    small = tmp_path / "small"
    prepare(anonymized, small, PrepareConfig(width=32, height=24, fill=9))
    first = train(changed(base, data=small))
    then = changed(base, init=Path(first.run) / "model.safetensors", steps=5)
    store, plan = ClipStore.open(base.data), set_up(then).job.plan
    known = warnings_of(then, store, plan), epsilon_with_before(then, store, plan)
    shutil.rmtree(small)
    assert known == (warnings_of(then, store, plan), epsilon_with_before(then, store, plan))
    assert known[1] is not None
    assert known[1] > plan.epsilon()


def test_no_private_run_starts_from_weights_that_tell_the_same_data(base, tmp_path) -> None:
    without = train(changed(base, privacy__mechanism="sgd", privacy__noise_multiplier=None))
    weights = Path(without.run) / "model.safetensors"
    with pytest.raises(UserError, match="trained on the same data without privacy"):
        set_up(changed(base, init=weights))
    elsewhere = tmp_path / "public.safetensors"
    save_weights(elsewhere, initial_model(base, ClipStore.open(base.data)))
    set_up(changed(base, init=elsewhere))


def test_weights_of_the_same_videos_prepared_otherwise_are_no_public_weights(
    base, anonymized, tmp_path
) -> None:
    small = tmp_path / "small"
    prepare(anonymized, small, PrepareConfig(width=32, height=24, fill=7))
    without = train(changed(base, data=small, privacy__mechanism="sgd", privacy__noise_multiplier=None))
    weights = Path(without.run) / "model.safetensors"
    with pytest.raises(UserError, match="trained on the same data without privacy"):
        set_up(changed(base, init=weights))
    link = tmp_path / "link.safetensors"
    link.symlink_to(weights)
    with pytest.raises(UserError, match="trained on the same data without privacy"):
        set_up(changed(base, init=link))
    shutil.rmtree(small)
    with pytest.raises(UserError, match="whether it had the same videos is not known; copy the weights"):
        set_up(changed(base, init=weights))
    elsewhere = tmp_path / "public.safetensors"
    shutil.copy(weights, elsewhere)
    set_up(changed(base, init=elsewhere))
