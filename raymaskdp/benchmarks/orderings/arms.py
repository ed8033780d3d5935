"""The arms of the benchmark: data, to which others can be added."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from raymaskdp.benchmarks.orderings.data import OrderingsData
from raymaskdp.benchmarks.settings.orderings import OrderingsConfig
from raymaskdp.demo import DemoConfig
from raymaskdp.privacy.choices import Mechanism
from raymaskdp.train import TrainConfig
from raymaskdp.train.config import ComputeConfig

MASKDP, MULTICLIP, DPSGD, NOT_PRIVATE = "MaskDP", "Multi-Clip", "DP-SGD", "not private"
MECHANISMS: dict[str, Mechanism] = {
    MASKDP: "maskdp",
    MULTICLIP: "multiclip",
    DPSGD: "dpsgd",
    NOT_PRIVATE: "sgd",
}
PAIRS = ((MASKDP, DPSGD), (MASKDP, MULTICLIP), (MULTICLIP, DPSGD))
"""The comparisons: the first arm less the second."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way of training.

    Attributes:
      name: in tables.
      train: its settings; `data` is a clip store of all people, whose draws the trials learn from. A trial
        sets `data`, `out`, `seed`, ε and the learning rate.
      epsilons: its budgets; (None,) without privacy.
    """

    name: str
    train: TrainConfig
    epsilons: tuple[float | None, ...]

    def at(self, epsilon: float | None, rate: float) -> TrainConfig:
        """The settings at an ε and a learning rate."""
        return dataclasses.replace(
            self.train,
            privacy=dataclasses.replace(self.train.privacy, epsilon=epsilon),
            optimizer=dataclasses.replace(self.train.optimizer, learning_rate=rate),
        )


def mechanism_arms(settings: OrderingsConfig, demo: DemoConfig, data: OrderingsData) -> tuple[Arm, ...]:
    """The three mechanisms, and no privacy, with the settings of the demo's sweep but for lots and steps."""
    like = demo.sweep.train
    stride = max(1, round(settings.fps / demo.public.fps))  # as the backbone was trained
    return tuple(
        Arm(
            name=name,
            train=dataclasses.replace(
                like,
                data=data.clips,
                init=data.backbone,
                steps=settings.steps,
                clips=dataclasses.replace(like.clips, stride=stride),
                privacy=dataclasses.replace(
                    like.privacy,
                    mechanism=mechanism,
                    epsilon=None if mechanism == "sgd" else settings.epsilons[0],
                    delta=settings.delta,
                    clips=settings.clips,
                    expected_batch=settings.batch,
                ),
                compute=ComputeConfig(
                    workers=0,
                    micro_batch=256,
                    checkpoint_every=settings.steps,
                    progress=False,
                    tensorboard=False,
                ),
            ),
            epsilons=(None,) if mechanism == "sgd" else settings.epsilons,
        )
        for name, mechanism in MECHANISMS.items()
    )


def pairs_of(arms: Sequence[Arm]) -> list[tuple[Arm, Arm]]:
    """The arms of each comparison."""
    named = {arm.name: arm for arm in arms}
    return [(named[first], named[second]) for first, second in PAIRS]
