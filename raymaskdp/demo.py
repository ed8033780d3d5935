"""All commands on sample videos, with the settings in `configs/demo*.yaml`.

Each step is a command that can be typed, and is printed as one; all of them resume, so an interrupted demo
continues at the same step.
"""

from __future__ import annotations

import dataclasses
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from raymaskdp import config, files
from raymaskdp.anonymize import AnonymizeConfig, anonymize
from raymaskdp.errors import UserError
from raymaskdp.places import LocalPath
from raymaskdp.report import report
from raymaskdp.sweep import SweepConfig, sweep
from raymaskdp.synthetic.config import SynthesizeConfig
from raymaskdp.synthetic.synthesize import synthesize
from raymaskdp.train import PrepareConfig, TrainConfig, evaluate, prepare, train

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """Settings of every step of the demo; the folders of data and results are added.

    Attributes:
      public: videos of other people in other rooms, for training without privacy.
      private: the videos to protect.
      prepare: how both become clips.
      pretrain: on the public videos, without privacy.
      train: on the anonymized videos, by default with MaskDP.
      sweep: over ε, mechanisms, clipping norms and schemes.
    """

    public: SynthesizeConfig
    private: SynthesizeConfig
    anonymize: AnonymizeConfig
    prepare: PrepareConfig
    pretrain: TrainConfig
    train: TrainConfig
    sweep: SweepConfig

    @classmethod
    def load(cls, folder: Path = CONFIGS) -> DemoConfig:
        """The demo's settings from `folder`; raises `UserError` outside of a clone of the repository."""
        if not (folder / "demo.yaml").is_file():
            raise UserError(
                f"The demo's settings are not in {folder}; run it from a clone of the repository."
            )
        return cls(
            public=config.load(SynthesizeConfig, folder / "demo_public.yaml"),
            private=config.load(SynthesizeConfig, folder / "demo_private.yaml"),
            anonymize=AnonymizeConfig(),
            prepare=PrepareConfig(),
            pretrain=config.load(TrainConfig, folder / "demo_pretrain.yaml"),
            train=config.load(TrainConfig, folder / "demo.yaml"),
            sweep=config.load(SweepConfig, folder / "demo_sweep.yaml"),
        )


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """The results of the demo.

    Attributes:
      report: the HTML file.
      anonymized, quarantined, failed: numbers of videos.
      epsilon, accuracy: of the training, on people that are not in its data.
      seconds: by step.
    """

    report: str
    anonymized: int
    quarantined: int
    failed: int
    epsilon: float | None
    accuracy: float
    seconds: dict[str, float]

    def __str__(self) -> str:
        minutes = sum(self.seconds.values()) / 60
        epsilon = "without privacy" if self.epsilon is None else f"at ε = {self.epsilon:.3g}"
        return (
            f"{self.anonymized} videos anonymized, {self.quarantined} quarantined, {self.failed} failed; "
            f"accuracy {self.accuracy:.0%} {epsilon}, in {minutes:.1f} minutes.\n"
            f"The report: {self.report}"
        )


def demo(out: LocalPath, settings: DemoConfig | None = None) -> DemoResult:
    """Run every step into the folder `out`; existing outputs are kept."""
    settings = settings or DemoConfig.load()
    folder = Path(out)
    seconds: dict[str, float] = {}

    @contextmanager
    def step(name: str, *command: LocalPath) -> Iterator[None]:
        print(f"\n$ raymaskdp {shlex.join(map(str, command))}", file=sys.stderr)
        began = time.monotonic()
        yield
        seconds[name] = round(time.monotonic() - began, 1)

    public, private = folder / "public", folder / "private"
    anonymized, clips, backbone = folder / "anonymized", folder / "clips", folder / "backbone.safetensors"
    with step(
        "public videos", "dataset", "synthesize", "--config", CONFIGS / "demo_public.yaml", "--out", public
    ):
        synthesize(public, settings.public)
    with step("public clips", "prepare", public, "--out", folder / "public-clips"):
        prepare(public, folder / "public-clips", settings.prepare)
    with step("pretraining", "train", "--config", CONFIGS / "demo_pretrain.yaml"):
        pretrain = dataclasses.replace(
            settings.pretrain, data=folder / "public-clips", out=folder / "public-runs"
        )
        with files.atomic_path(backbone) as temporary:
            shutil.copyfile(Path(train(pretrain).run) / "model.safetensors", temporary)
    with step("videos", "dataset", "synthesize", "--config", CONFIGS / "demo_private.yaml", "--out", private):
        synthesize(private, settings.private)
    with step("anonymize", "anonymize", private, "--out", anonymized):
        outcome = anonymize(private, anonymized, settings.anonymize)
    with step("clips", "prepare", anonymized, "--out", clips):
        prepare(anonymized, clips, settings.prepare)
    filled = dataclasses.replace(settings.train, data=clips, out=folder / "runs", init=backbone)
    with step("train", "train", "--config", CONFIGS / "demo.yaml"):
        run = train(filled)
    with step("evaluate", "evaluate", run.run):
        measured = evaluate(run.run)
    with step("sweep", "sweep", "--config", CONFIGS / "demo_sweep.yaml"):
        base = dataclasses.replace(settings.sweep.train, data=clips, init=backbone)
        sweep(dataclasses.replace(settings.sweep, train=base, out=folder / "sweep"))
    with step("report", "report", folder, "show_sources=true"):
        # The people in the sources are synthetic here, so the report may show them.
        page = report(folder, show_sources=True)
    return DemoResult(
        report=page.path,
        anonymized=outcome.done,
        quarantined=outcome.quarantined,
        failed=outcome.failed,
        epsilon=run.epsilon,
        accuracy=measured.score,
        seconds=seconds,
    )
