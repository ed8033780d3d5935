"""Settings of a run, changed by name."""

from dataclasses import replace
from typing import Any

from raymaskdp import config
from raymaskdp.train import TrainConfig


def changed(base: TrainConfig, **changes: Any) -> TrainConfig:
    """`base` with dotted settings (`privacy__clips=3`) changed."""
    for name, value in changes.items():
        group, _, field = name.rpartition("__")
        if group:
            value = replace(getattr(base, group), **{field: value})
        base = replace(base, **{group or name: value})
    return config.build(TrainConfig, config.to_dict(base), where="test")
