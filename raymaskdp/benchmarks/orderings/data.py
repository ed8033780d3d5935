"""The videos, the backbone and the clip store of the benchmark of orderings, made once."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from raymaskdp.anonymize import anonymize
from raymaskdp.benchmarks.fidelity import demo_backbone
from raymaskdp.benchmarks.settings.orderings import OrderingsConfig
from raymaskdp.demo import DemoConfig
from raymaskdp.errors import UserError
from raymaskdp.synthetic.synthesize import synthesize
from raymaskdp.train import prepare

FEWEST = 0.9
"""Least share of the videos that must be anonymized."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OrderingsData:
    """What the trials learn from.

    Attributes:
      clips: clip store of all anonymized videos, all of them in the split "train".
      backbone: weights from public videos.
    """

    clips: Path
    backbone: Path


def make_data(out: Path, settings: OrderingsConfig, demo: DemoConfig) -> OrderingsData:
    """Make in the folder `out` what is missing there; all stages resume.

    Videos are as the demo's, through the same stages of `anonymize`. By default they are like its public
    ones in time, three seconds at 4 frames a second, because training looks at no more frames, and
    the time of `anonymize` is proportional to frames.
    """
    here = dataclasses.replace(demo.pretrain.compute, workers=settings.workers if settings.workers > 1 else 0)
    pretrain = dataclasses.replace(demo.pretrain, compute=here)
    backbone = demo_backbone(out, dataclasses.replace(demo, pretrain=pretrain))
    film = dataclasses.replace(
        demo.private,
        people=settings.people,
        rooms=settings.rooms,
        cameras=2,
        frames=settings.frames,
        fps=settings.fps,
        seed=settings.seed,
        test_share=0.0,
    )
    synthesize(out / "private", film)
    chosen = dataclasses.replace(demo.anonymize, workers=settings.workers)
    outcome = anonymize(out / "private", out / "anonymized", chosen)
    if outcome.done < FEWEST * len(outcome.rows):
        raise UserError(
            f"Only {outcome.done} of {len(outcome.rows)} videos were anonymized; see {out / 'anonymized'}."
        )
    prepare(out / "anonymized", out / "clips", demo.prepare)
    return OrderingsData(clips=out / "clips", backbone=backbone)
