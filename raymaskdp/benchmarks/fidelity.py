"""Effect of anonymizing on action recognition: one head on one backbone, on sources, anonymized videos and
empty rooms.

`raymaskdp benchmark fidelity --out DIR`. Sample videos are rendered, a backbone is trained on public ones as
in the demo, and a linear head without privacy on each version of the private ones. The accuracy on the
sources is the upper bound for all versions; on videos without people it must be chance.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from raymaskdp import config, files
from raymaskdp.anonymize import AnonymizeConfig, anonymize
from raymaskdp.benchmarks.settings.videos import FidelityConfig
from raymaskdp.demo import DemoConfig
from raymaskdp.errors import UserError
from raymaskdp.synthetic.synthesize import synthesize
from raymaskdp.train import PrepareConfig, TrainConfig, evaluate, prepare, train
from raymaskdp.train.config import ComputeConfig, OptimizerConfig, PrivacyConfig
from raymaskdp.train.data.store import TABLE, ClipStore

SOURCES, REMOVED, DEFAULT = "sources", "people removed", "anonymized"


@dataclass(frozen=True, kw_only=True)
class VideoVersion:
    """One version of the videos.

    Attributes:
      videos: of the test.
      accuracy, low, high: mean over the seeds, and its 95 % Wilson interval as of one count of these videos.
      per_class: accuracy by action.
    """

    name: str
    videos: int
    accuracy: float
    low: float
    high: float
    per_class: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class FidelityResult:
    """All versions, sources first."""

    versions: tuple[VideoVersion, ...]

    def accuracy(self, name: str) -> float:
        """The accuracy on a version; raises `KeyError` for one that was not measured."""
        return {version.name: version.accuracy for version in self.versions}[name]

    def __str__(self) -> str:
        lines = [f"{self.versions[0].videos} test videos, a linear head without privacy:"]
        for version in self.versions:
            worst = sorted(version.per_class.items(), key=lambda pair: pair[1])[:3]
            named = ", ".join(f"{name} {value:.2f}" for name, value in worst)
            interval = f"({version.low:.2f}–{version.high:.2f})"
            lines.append(f"  {version.accuracy:.3f} {interval}  {version.name:32} worst: {named}")
        return "\n".join(lines)


def benchmark_fidelity(out: Path, settings: FidelityConfig) -> FidelityResult:
    """Make all data in the folder `out`, which is resumed, and compare."""
    demo = DemoConfig.load()
    backbone = demo_backbone(out, demo)
    private = out / "private"
    synthesize(private, dataclasses.replace(demo.private, people=settings.people, seed=settings.seed))
    stores = dict(tqdm(_stores(out, private, settings), "versions", 3 + len(settings.variants)))
    return FidelityResult(
        versions=tuple(
            _measured(name, store, backbone, demo.train, settings) for name, store in stores.items()
        )
    )


def demo_backbone(out: Path, demo: DemoConfig) -> Path:
    """The demo's backbone, trained once in the folder `out`."""
    backbone = out / "backbone.safetensors"
    if not backbone.is_file():
        synthesize(out / "public", demo.public)
        prepare(out / "public", out / "public-clips", demo.prepare)
        pretrain = dataclasses.replace(demo.pretrain, data=out / "public-clips", out=out / "public-runs")
        with files.atomic_path(backbone) as temporary:
            shutil.copyfile(Path(train(pretrain).run) / "model.safetensors", temporary)
    return backbone


def _stores(out: Path, private: Path, settings: FidelityConfig) -> Iterator[tuple[str, Path]]:
    """The clips of every version, by its name."""
    yield SOURCES, _prepared(private, out / "clips-sources", PrepareConfig())
    for number, variant in enumerate(("", *settings.variants)):
        anonymized = out / f"anonymized-{number:02d}"
        chosen = config.load(AnonymizeConfig, None, variant.split(",") if variant else ())
        outcome = anonymize(private, anonymized, chosen)
        if outcome.done < 0.9 * len(outcome.rows):
            raise UserError(
                f"Only {outcome.done} of {len(outcome.rows)} videos were anonymized; see {anonymized}."
            )
        if not number:
            removed = PrepareConfig(people="removed")
            yield REMOVED, _prepared(anonymized, out / "clips-removed", removed)
        yield variant or DEFAULT, _prepared(anonymized, out / f"clips-{number:02d}", PrepareConfig())


def _prepared(source: Path, store: Path, settings: PrepareConfig) -> Path:
    prepare(source, store, settings)
    return store


def _measured(
    name: str, store: Path, backbone: Path, like: TrainConfig, settings: FidelityConfig
) -> VideoVersion:
    """Heads on each fold of one version, and their results on the videos of the test."""
    named: dict[str, float] = defaultdict(float)
    tested: Counter[str] = Counter()
    for fold in range(settings.folds):
        with tempfile.TemporaryDirectory(dir=store.parent, prefix="fold-") as folder:
            data = fold_of(store, Path(folder) / "clips", fold, settings.folds)
            tests = Counter(str(video.label) for video in ClipStore.open(data).split("test"))
            for seed in range(settings.seeds):
                head = TrainConfig(
                    data=data,
                    out=Path(folder) / f"head-{seed}",
                    init=backbone,
                    scheme="linear",
                    steps=settings.steps,
                    seed=seed,
                    model=like.model,
                    clips=like.clips,
                    privacy=PrivacyConfig(mechanism="sgd", clips=1, expected_batch=64),
                    optimizer=OptimizerConfig(name="adam", learning_rate=1e-2),
                    compute=ComputeConfig(workers=0, progress=False, tensorboard=False),
                )
                outcome = evaluate(train(head).run)
                for action, share in outcome.per_class.items():
                    named[action] += share * tests[action]
                tested += tests
    accuracy, videos = sum(named.values()) / sum(tested.values()), sum(tested.values()) // settings.seeds
    low, high = wilson(accuracy, videos)
    return VideoVersion(
        name=name,
        videos=videos,
        accuracy=round(accuracy, 4),
        low=low,
        high=high,
        per_class={action: round(named[action] / tested[action], 3) for action in sorted(tested)},
    )


def fold_of(store: Path, out: Path, fold: int, folds: int) -> Path:
    """The store as the new folder `out`, with links to its clips, and another test.

    The test is every `folds`-th person from number `fold` on. People are numbered by name, so versions of the
    same videos have the same folds.
    """
    # Only clips are links, because runs write other files, which must not go to the store itself.
    own = shutil.ignore_patterns("store.json", "*.parquet", "private", "features", ".*")
    shutil.copytree(store, out, copy_function=os.link, ignore=own)
    videos = pd.read_parquet(store / "videos.parquet")
    number = {subject: index for index, subject in enumerate(sorted(videos["subject"].unique()))}
    split = ["test" if number[one] % folds == fold else "train" for one in videos["subject"]]
    write_splits(store, out, split)
    return out


def write_splits(store: Path, out: Path, split: Sequence[str]) -> None:
    """The table of a store into the folder `out`, with another split of each video, in its order."""
    videos = pd.read_parquet(store / "videos.parquet")
    videos["split"] = split
    videos.to_parquet(out / "videos.parquet", index=False)
    about = json.loads((store / "store.json").read_text())
    about[TABLE] = files.sha256_file(out / "videos.parquet")
    (out / "store.json").write_text(json.dumps(about))


def wilson(share: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval of a share of `count` trials, 95 % by default.

    >>> [round(end, 3) for end in wilson(0.5, 100)]
    [0.404, 0.596]
    """
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * (share * (1 - share) / count + z * z / (4 * count * count)) ** 0.5
    return round(middle - half, 4), round(middle + half, 4)
