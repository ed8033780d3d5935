"""Stages with pools of their own make the same bytes as one pool, and a crash repeats nothing before it."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ray import cloudpickle
from support.formats import Film, write_amass

from raymaskdp import config as configuration
from raymaskdp.anonymize import AnonymizeConfig, anonymize
from raymaskdp.anonymize.compose.config import CompositeConfig
from raymaskdp.anonymize.compose.diffusion.settings import DiffusionConfig
from raymaskdp.anonymize.item import Decided, Item, Pending
from raymaskdp.anonymize.object_store import StoreStages
from raymaskdp.anonymize.output.manifest import DATA_SUFFIXES
from raymaskdp.anonymize.output.secret import SecretFile
from raymaskdp.anonymize.people.config import PoseConfig
from raymaskdp.anonymize.pipeline import SPLIT, STAGES, in_process, is_split, on_ray, operators
from raymaskdp.anonymize.pools import COMPOSE, FIND, REFINE, PoolConfig, PoolsConfig
from raymaskdp.anonymize.stages import Analyze, Compose, Draw, Job, Refine, Synthesize
from raymaskdp.benchmarks.diffusion import tiny_diffusion
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.errors import UserError

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import test files

PIECE_SECONDS = 4 / 12  # four frames
PIECES = 3
SPLIT_POOLS = PoolsConfig(refine=PoolConfig(cpus=0.5))


@dataclass(frozen=True)
class Fused:
    """A film that was anonymized in one pool, and its settings."""

    film: Film
    config: AnonymizeConfig
    folder: Path

    def files(self, out: Path, name: str = "v") -> dict[str, bytes]:
        return {suffix: (out / f"{name}{suffix}").read_bytes() for suffix in DATA_SUFFIXES}

    def item(self, name: str = "v") -> Pending:
        return Pending(record=VideoRecord(video_id=name, path=self.film.record.path, subject="s"))


@pytest.fixture(scope="module", params=["embedded", "diffusion"])
def fused(request: pytest.FixtureRequest, film: Film, tmp_path_factory: pytest.TempPathFactory) -> Fused:
    folder = tmp_path_factory.mktemp("fused")
    (folder / "secret").write_bytes(bytes(range(32)))
    for name in ("v", "w"):
        (folder / "poses" / name).mkdir(parents=True)
        for person in range(2):
            write_amass(folder / "poses" / name / f"{person}.npz", film.truth, person)
    names = tiny_diffusion.sd15(folder / "weights")
    config = AnonymizeConfig(
        pose=PoseConfig(source="smpl", skeletons=folder / "poses", veto=False),
        composite=CompositeConfig(refine=request.param),
        diffusion=DiffusionConfig(**names, side=64, steps=2, batch=4, guidance=1.0, max_pose_shift=0),
        secret_file=folder / "secret",
        chunk_seconds=PIECE_SECONDS,
        workers=0,
    )
    made = Fused(film=film, config=config, folder=folder)
    (done,) = in_process([made.item()], config, job(folder / "run"))
    assert isinstance(done, Decided)
    assert done.status == "done", done.reasons
    return made


def job(folder: Path) -> Job:
    for name in ("out", "work", "frames"):
        (folder / name).mkdir(parents=True)
    secret = SecretFile.at(folder.parent / "secret")
    return Job(out=folder / "out", work=folder / "work", secret=secret, frames=folder / "frames")


@pytest.mark.slow
def test_stages_called_by_hand_make_the_same_bytes(fused: Fused, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(range(32)))
    there = job(tmp_path / "run")
    item: Item = fused.item()
    for stage in SPLIT:
        item = stage(fused.config, there)(item)
    assert isinstance(item, Decided)
    assert item.status == "done", item.reasons
    assert (item.metrics["chunks"], item.metrics["chunks_resumed"]) == (PIECES, 0)
    assert item.metrics["surviving_pixels"] == 0
    if fused.config.composite.refine == "diffusion":
        assert item.metrics["avatars_refined"] == 20
    assert fused.files(there.out) == fused.files(fused.folder / "run" / "out")
    (folder,) = (there.frames or Path()).iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.slow
@pytest.mark.parametrize("stage", SPLIT, ids=lambda stage: stage.__name__)
def test_a_stage_tests_itself(fused: Fused, tmp_path: Path, stage: Any) -> None:
    if stage is Analyze and fused.config.composite.refine == "diffusion":
        pytest.skip("the same for all refiners")
    (tmp_path / "secret").write_bytes(bytes(range(32)))
    work = StoreStages([stage], fused.config, job(tmp_path / "run"))
    work.self_test()
    work.self_test()
    for name in ("out", "work", "frames"):
        assert not list((tmp_path / "run" / name).iterdir())


@pytest.mark.slow
def test_a_refiner_without_its_gpu_does_not_use_the_cpu(fused: Fused, tmp_path: Path) -> None:
    if fused.config.composite.refine != "diffusion":
        pytest.skip("only diffusion uses a GPU")
    (tmp_path / "secret").write_bytes(bytes(range(32)))
    config = dataclasses.replace(fused.config, gpus=0.5)
    with pytest.raises(UserError, match=r"given gpus=0\.5, but torch .* finds no GPU"):
        StoreStages([Refine], config, job(tmp_path / "run")).self_test()


@pytest.mark.slow
@pytest.mark.cluster
def test_pools_on_two_cpus_make_the_same_bytes_and_leave_nothing(
    fused: Fused, ray_session: None, tmp_path: Path
) -> None:
    config = dataclasses.replace(fused.config, workers=2, pools=SPLIT_POOLS)
    source = tmp_path / "v.mp4"
    source.symlink_to(fused.film.record.path)
    row = anonymize(source, tmp_path / "out", config, progress=False).rows[0]
    assert row.status == "done", row.reason
    alone = anonymize(source, tmp_path / "alone", fused.config, progress=False).rows[0]
    assert alone.status == "done", alone.reason
    assert fused.files(tmp_path / "out") == fused.files(tmp_path / "alone")
    assert {"seconds_draw", "seconds_refine", "seconds_compose"} <= json.loads(row.metrics).keys()
    assert {path.name for path in tmp_path.iterdir()} == {"v.mp4", "out", "alone"}


class Finds(Analyze):
    """Counts its calls."""

    def __init__(self, config: AnonymizeConfig, job: Job) -> None:
        super().__init__(config, job)
        self._folder = job.out.parent

    def __call__(self, item: Item) -> Item:
        with open(self._folder / f"{item.record.video_id}.found", "a") as calls:
            calls.write("x")
        return super().__call__(item)


class Dies(Refine):
    """Its process ends at the second chunk of the first two tries, and each time at videos called "x"."""

    def __init__(self, config: AnonymizeConfig, job: Job) -> None:
        super().__init__(config, job)
        self._folder = job.out.parent
        self._made = self._refiner_of

    def __call__(self, item: Item) -> Item:
        name = item.record.video_id
        with open(self._folder / f"{name}.refined", "a") as calls:
            calls.write("x")
        chunks = 0

        def make(cast: Any) -> Any:
            nonlocal chunks
            chunks += 1
            if chunks == 2 and (name == "x" or (self._folder / f"{name}.refined").stat().st_size <= 2):
                os.kill(os.getpid(), signal.SIGKILL)
            return self._made(cast)

        self._refiner_of = make
        return super().__call__(item)


@pytest.mark.slow
@pytest.mark.cluster
def test_a_crash_of_the_refiner_does_not_repeat_the_finding(
    fused: Fused, ray_session: None, tmp_path: Path
) -> None:
    """Even if it crashes twice, so that Ray gives the video up, and a failed video passes all pools."""
    (tmp_path / "secret").write_bytes(bytes(range(32)))
    there = job(tmp_path / "run")
    config = dataclasses.replace(fused.config, workers=1, pools=SPLIT_POOLS)
    lost = Pending(record=VideoRecord(video_id="lost", path=str(tmp_path / "none.mp4")))
    items = [lost, fused.item()]
    found = {
        item.record.video_id: item
        for item in on_ray(items, config, there, stages=(Finds, Draw, Dies, Compose))
    }
    done, failed = found["v"], found["lost"]
    assert isinstance(done, Decided)
    assert done.status == "done", done.reasons
    assert isinstance(failed, Decided)
    assert failed.status == "failed"
    assert "none.mp4" in failed.reasons[0]
    assert (there.out.parent / "v.found").read_text() == "x"
    assert (there.out.parent / "v.refined").read_text() == "xxx"
    assert not (there.out.parent / "lost.refined").exists()
    assert fused.files(there.out) == fused.files(fused.folder / "run" / "out")
    assert not [
        path for path in (there.frames or Path()).glob("*/*") if path.suffix in (".drawn", ".refined")
    ]


def test_one_pool_unless_needs_differ() -> None:
    plain = AnonymizeConfig()
    assert not is_split(plain)
    assert [stages for _, stages in operators(STAGES, plain)] == [STAGES]
    shared = dataclasses.replace(plain, gpus=0.25)  # for OpenGL, as before
    assert not is_split(shared)
    assert [needs.share for needs, _ in operators(STAGES, shared)] == [0.25]
    assert not is_split(dataclasses.replace(plain, workers=0, pools=SPLIT_POOLS))  # without Ray
    split = dataclasses.replace(plain, workers=3, pools=SPLIT_POOLS)
    assert is_split(split)
    parts = operators(SPLIT, split)
    assert [stages for _, stages in parts] == [(Analyze, Draw), (Refine,), (Compose,)]
    assert [needs.workers for needs, _ in parts] == [3, 3, 3]
    assert split.digest() == plain.digest()


def test_a_stage_without_a_pool_runs_with_the_one_before() -> None:
    class Clock:
        def __init__(self, config: AnonymizeConfig, job: Job) -> None: ...

        def __call__(self, item: Item) -> Item:
            return item

    split = AnonymizeConfig(pools=SPLIT_POOLS)
    assert [stages for _, stages in operators((*SPLIT, Clock), split)][-1] == (Compose, Clock)
    fused = [stages for _, stages in operators((*STAGES, Clock), split.in_one_pool())]
    assert fused == [(Analyze, Synthesize, Clock)]


@pytest.mark.slow
def test_only_the_refiner_holds_a_gpu_unless_detectors_need_it(tmp_path: Path) -> None:
    diffusion = DiffusionConfig(**tiny_diffusion.sd15(tmp_path))
    config = AnonymizeConfig(
        composite=CompositeConfig(refine="diffusion"), diffusion=diffusion, gpus=0.5, workers=4
    )
    assert {pool: config.needs(pool).share for pool in (FIND, REFINE, COMPOSE)} == {
        FIND: 0.0, REFINE: 0.5, COMPOSE: 0.0,
    }  # fmt: skip
    assert is_split(config)
    own = configuration.load(PoolsConfig, None, ["find.gpus=0.25", "find.workers=[2, 8]", "refine.workers=1"])
    given = dataclasses.replace(config, pools=own)
    assert (given.needs(FIND).share, given.needs(FIND).workers) == (0.25, (2, 8))
    assert (given.needs(REFINE).workers, given.needs(COMPOSE).workers) == (1, 4)
    pose = PoseConfig(detector="PekingU/rtdetr")
    assert dataclasses.replace(config, pose=pose).needs(FIND).share == 0.5
    assert not is_split(config.in_one_pool())


@pytest.mark.parametrize("setting", ["find.workers=0", "find.workers=[3, 2]", "refine.gpus=-1", "ahead=0"])
def test_sizes_of_pools_are_checked(setting: str) -> None:
    with pytest.raises(UserError, match="must be"):
        configuration.load(PoolsConfig, None, [setting])
