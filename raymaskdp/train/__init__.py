"""Preparing clips, training on them with a privacy guarantee, and evaluating.

>>> prepare("anonymized", "clips")                                                   # doctest: +SKIP
>>> run = train(TrainConfig(data="clips", privacy=PrivacyConfig(epsilon=2.0)))       # doctest: +SKIP
>>> evaluate(run.run)                                                                # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from raymaskdp import imported_on_use

if TYPE_CHECKING:
    from raymaskdp.train.config import ClipConfig, ComputeConfig, OptimizerConfig, PrivacyConfig, TrainConfig
    from raymaskdp.train.data.prepare_job import PrepareConfig
    from raymaskdp.train.data.store import ClipStore
    from raymaskdp.train.evaluation import EvaluateResult, evaluate
    from raymaskdp.train.preparation import PrepareResult, prepare
    from raymaskdp.train.run.result import TrainResult
    from raymaskdp.train.trainer import train

__all__ = [
    "ClipConfig",
    "ClipStore",
    "ComputeConfig",
    "EvaluateResult",
    "OptimizerConfig",
    "PrepareConfig",
    "PrepareResult",
    "PrivacyConfig",
    "TrainConfig",
    "TrainResult",
    "evaluate",
    "prepare",
    "train",
]

__getattr__ = imported_on_use(
    __name__,
    {
        "ClipConfig": "config",
        "ClipStore": "data.store",
        "ComputeConfig": "config",
        "EvaluateResult": "evaluation",
        "OptimizerConfig": "config",
        "PrepareConfig": "data.prepare_job",
        "PrepareResult": "preparation",
        "PrivacyConfig": "config",
        "TrainConfig": "config",
        "TrainResult": "run.result",
        "evaluate": "evaluation",
        "prepare": "preparation",
        "train": "trainer",
    },
)
