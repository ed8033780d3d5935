"""On a real cluster: every video comes back exactly once, whatever happens to its neighbours."""

import dataclasses
import os
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest
from ray import cloudpickle

from raymaskdp.anonymize.config import AnonymizeConfig
from raymaskdp.anonymize.item import Decided, Pending
from raymaskdp.anonymize.outcome import run_item
from raymaskdp.anonymize.output.secret import SecretFile
from raymaskdp.anonymize.pipeline import in_process, on_ray
from raymaskdp.anonymize.run_metrics import RunMetrics, Throughput
from raymaskdp.anonymize.stages import Job
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.errors import UserError

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import test files


class Scripted:
    """A stage that does what the name of the video says."""

    def __init__(self, config: AnonymizeConfig, job: Job) -> None:
        self._folder = job.work

    def __call__(self, item: Pending) -> Decided:
        name = item.record.video_id
        with open(self._folder / f"{name}.tries", "a") as tries:
            tries.write("x")
        if name.startswith("segfault"):
            os.kill(os.getpid(), signal.SIGSEGV)
        if name.startswith("unlucky") and (self._folder / f"{name}.tries").stat().st_size == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if name.startswith("unforeseen"):
            raise MemoryError("as if from a library")
        device = os.environ.get("CUDA_VISIBLE_DEVICES")
        return Decided.after(item, status="done", metrics={"pid": os.getpid(), "device": device})


class Second:
    """A stage behind another one."""

    def __init__(self, config: AnonymizeConfig, job: Job) -> None: ...

    def __call__(self, item: Decided) -> Decided:
        return dataclasses.replace(item, num_people=item.num_people + 1)


def items(names: list[str]) -> list[Pending]:
    return [Pending(record=VideoRecord(video_id=name, path=f"{name}.mp4")) for name in names]


def job(folder: Path) -> Job:
    return Job(out=folder, work=folder, secret=SecretFile.at(folder / "secret"))


@pytest.mark.slow
@pytest.mark.cluster
def test_crashes_cost_only_the_video_that_crashes(ray_session: None, tmp_path: Path) -> None:
    good = [f"good{n}" for n in range(8)]
    bad = ["segfault", "unforeseen"]
    names = [bad[0], *good[:3], "unlucky", *good[3:6], bad[1], *good[6:]]
    given = items(names)
    found = list(on_ray(given, AnonymizeConfig(workers=2), job(tmp_path), stages=(Scripted, Second)))
    assert Counter(item.record.video_id for item in found) == Counter(names)
    by_name = {item.record.video_id: item for item in found}
    for name in [*good, "unlucky"]:
        assert (by_name[name].status, by_name[name].num_people) == ("done", 1), name
        assert by_name[name].metrics["device"] == ""  # no accelerator is touched
        assert by_name[name].metrics["pid"] != os.getpid()
    for name in bad:
        assert by_name[name].status == "failed"
        assert "worker process" in by_name[name].reasons[0]
        assert 1 <= (tmp_path / f"{name}.tries").stat().st_size <= 4  # bounded


def test_without_ray_the_order_is_kept(tmp_path: Path) -> None:
    found = list(in_process(items(["b", "a"]), AnonymizeConfig(), job(tmp_path), stages=(Scripted, Second)))
    assert [(i.record.video_id, i.status, i.num_people) for i in found] == [
        ("b", "done", 1),
        ("a", "done", 1),
    ]


def test_nothing_to_do_starts_nothing(tmp_path: Path) -> None:
    assert list(on_ray([], AnonymizeConfig(), job(tmp_path))) == []


def test_a_run_knows_how_busy_it_is_and_how_long_it_takes() -> None:
    """Two workers: after ten seconds 12 of their 20 were work, and two of eight videos are decided."""
    flow = Throughput(workers=2)
    for seconds in (5.0, 7.0):
        flow.add(Decided.after(items(["a"])[0], status="done", seconds=seconds))
    assert flow.utilisation(10.0) == pytest.approx(0.6)
    assert flow.seconds_left(10.0, waiting=6) == pytest.approx(30.0)


@pytest.mark.slow
@pytest.mark.cluster
def test_workers_that_come_later_are_counted(ray_session: None) -> None:
    """Behind a head without CPUs there is one at first, for ten seconds, and then 230 for ten more."""
    clock, workers = iter([0.0, 10.0, 20.0]), iter([1, 1, 230])
    metrics = RunMetrics(lambda: next(workers), lambda: next(clock))
    metrics.count(Decided.after(items(["a"])[0], status="done", seconds=5.0), waiting=1)
    assert metrics.utilisation() == pytest.approx(5 / 10)
    metrics.count(Decided.after(items(["b"])[0], status="done", seconds=1150.0), waiting=0)
    assert metrics.utilisation() == pytest.approx(1155 / 2310)


def test_what_breaks_a_video_is_a_fault_unless_users_can_mend_it() -> None:
    """`sys.exit` in a library, too: on Ray it would have stopped the run for ever."""

    def raises(error: BaseException) -> Decided:
        def work(item: Pending) -> Decided:
            raise error

        return run_item(work, Pending(record=VideoRecord(video_id="a", path="a.mp4")))

    left, broke, said = raises(SystemExit(0)), raises(OSError("no display")), raises(UserError("No file."))
    assert (left.status, left.reasons, left.fault) == ("failed", ("SystemExit: 0",), "SystemExit: 0")
    assert (broke.status, broke.fault) == ("failed", "OSError: no display")
    assert (said.status, said.reasons, said.fault) == ("failed", ("No file.",), "")
