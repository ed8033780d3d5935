"""Preparing clips, training on them with a privacy guarantee, and evaluating.

>>> prepare("anonymized", "clips")                                                   # doctest: +SKIP
>>> run = train(TrainConfig(data="clips", privacy=PrivacyConfig(epsilon=2.0)))       # doctest: +SKIP
>>> evaluate(run.run)                                                                # doctest: +SKIP
"""

from raymaskdp.train.config import ComputeConfig, OptimizerConfig, PrivacyConfig, TrainConfig
from raymaskdp.train.data.clips import ClipConfig
from raymaskdp.train.data.store import ClipStore
from raymaskdp.train.evaluate import EvaluateResult, evaluate
from raymaskdp.train.prepare import PrepareConfig, PrepareResult, prepare
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
