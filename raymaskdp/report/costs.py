"""The cost of anonymizing, stage by stage, and the estimate of `raymaskdp estimate --out DIR`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from raymaskdp.anonymize.output.manifest import COST_PLAN
from raymaskdp.errors import Damaged
from raymaskdp.files import read_json

_SECONDS = "seconds_"


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """One stage, formatted: frames a second of one worker, share of the time, and their estimates."""

    name: str
    rate: str
    share: str
    planned_rate: str
    planned_share: str


@dataclass(frozen=True, kw_only=True)
class Costs:
    """The cost of all videos; `planned` says whether there is an estimate to compare with."""

    sentence: str
    planned: bool
    stages: tuple[StageCost, ...]


def read(folder: Path, table: pd.DataFrame, measured: pd.DataFrame) -> Costs | None:
    """The cost of the videos that passed all stages; None without recorded times.

    Args:
      folder: the output folder of `anonymize`, with the estimate if there is one.
      table: rows of the finished videos; `measured` has their metrics, in the same order.
    """
    stages = [name for name in measured if name.startswith(_SECONDS)]
    known = measured[stages].notna().all(axis=1).to_numpy(dtype=bool)
    if not stages or not known.any():
        return None
    frames = int(table.num_frames[known].sum())
    seconds = {name.removeprefix(_SECONDS): float(measured[name][known].sum()) for name in stages}
    beside = float(table.seconds[known].sum()) - sum(seconds.values())
    if beside > 0:
        seconds["other"] = beside
    total = sum(seconds.values())
    plan = _plan(folder / COST_PLAN)
    sentence = f"One worker took {total / 3600:.3g} hours for {frames} frames, {frames / total:.3g} a second"
    if plan is None:
        sentence += "."
    else:
        ratio = plan["frames_per_second"] * total / frames
        sentence += f"; the estimate was {plan['frames_per_second']:.3g} a second, {ratio:.2f} times as many."
    return Costs(
        sentence=sentence,
        planned=plan is not None,
        stages=tuple(
            _stage(name, taken, frames=frames, total=total, plan=plan)
            for name, taken in sorted(seconds.items(), key=lambda item: -item[1])
        ),
    )


def _stage(name: str, taken: float, *, frames: int, total: float, plan: dict[str, Any] | None) -> StageCost:
    planned = 0.0 if plan is None else float(plan["shares"].get(name, 0.0))
    return StageCost(
        name=name,
        rate=f"{frames / taken:.3g}" if taken else "",
        share=f"{taken / total:.0%}",
        planned_rate=f"{plan['frames_per_second'] / planned:.3g}" if plan and planned else "",
        planned_share=f"{planned:.0%}" if planned else "",
    )


def _plan(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        found = read_json(path)
        return {"frames_per_second": float(found["frames_per_second"]), "shares": dict(found["shares"])}
    except (Damaged, ValueError, KeyError, TypeError) as error:
        raise Damaged(
            f"{path} is not an estimate of `raymaskdp estimate`; remove it, or run it again."
        ) from error
