"""The total cost of all runs on one data set, and a limit beyond which runs are refused.

    DATA/private/runs.jsonl    one line per run, written and synced before its first step; append-only
    DATA/private/limit.json    the limit of their total cost

A run counts with all its planned steps as soon as it starts, and a run with another key counts
again, also in the same folder. The files are beside the data and as private; copies of the data have them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from raymaskdp import check, config
from raymaskdp.check import finite_or_none
from raymaskdp.errors import UserError
from raymaskdp.files import end_last_line, private_folder, write_json
from raymaskdp.locks import only_one
from raymaskdp.privacy.plan import PrivacyPlan
from raymaskdp.privacy.prices.composition import compose

RUNS = "runs.jsonl"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Limit:
    """The limit of the total cost of all runs on a data set.

    Attributes:
      epsilon: ε of all of them together.
      delta: δ of all of them together, independent of the δ of each.
    """

    epsilon: Annotated[float, check.POSITIVE]
    delta: Annotated[float, check.Range(0, 1, open_low=True, open_high=True)] = 1e-5

    def __post_init__(self) -> None:
        check.fields(self)


@dataclass(frozen=True, kw_only=True)
class CountedRun:
    """A run on the data.

    Attributes:
      run: its folder.
      key: fingerprint of its key, which distinguishes it from a later run in the same folder.
      plan: its privacy plan.
    """

    run: str
    key: str
    plan: PrivacyPlan


@dataclass(frozen=True, kw_only=True)
class PricedRun:
    """A run on the data and its own cost.

    Attributes:
      run: its folder.
      epsilon: at the δ of its own plan; None without privacy.
      mechanism, unit, adjacency: what its ε covers.
    """

    run: str
    epsilon: float | None
    mechanism: str
    unit: str
    adjacency: str

    def __str__(self) -> str:
        return f"{_shown(self.epsilon):>8}  {self.run} ({self.mechanism}, {self.unit}, {self.adjacency})"


@dataclass(frozen=True, kw_only=True)
class BudgetResult:
    """The cost of a data set's runs.

    Attributes:
      runs: each of them, in the order in which they began.
      delta: δ of the figures that follow.
      about: what those cover, if runs protect different things (`raymaskdp.privacy.prices.composition`).
      rdp, pld: upper bounds on ε of all runs together, by the two accountants; None if infinite.
      epsilon: the smaller.
      limit: the largest allowed epsilon, or None.
      left: limit less epsilon; never below 0, None without a limit.
    """

    runs: tuple[PricedRun, ...]
    delta: float
    about: str | None
    rdp: float | None
    pld: float | None
    epsilon: float | None
    limit: float | None
    left: float | None

    def __str__(self) -> str:
        lines = [f"{len(self.runs)} runs on these data:"]
        lines += [f"  {run}" for run in self.runs]
        lines.append(
            f"All together: ε = {_shown(self.epsilon)} at δ = {self.delta:g} (RDP {_shown(self.rdp)}, "
            f"PLD {_shown(self.pld)})."
        )
        if self.about:
            lines.append(
                f"They differ in mechanism, unit or adjacency, so that figure is about {self.about}, which "
                "all of them bound at twice the contribution."
            )
        if self.limit is None:
            lines.append("There is no limit; set one with limit=EPSILON delta=DELTA.")
        else:
            lines.append(f"The limit is {self.limit:g}; {_shown(self.left)} is left.")
        return "\n".join(lines)


def count_run(data: Path, one: CountedRun) -> None:
    """Record a run before its first step; raises `UserError` if it would exceed the limit.

    A run that is recorded already, with the same key, is not counted again.
    """
    with _history(data) as folder:
        runs = _read(folder)
        for earlier in runs:
            if earlier.key == one.key and earlier.run == one.run and earlier.plan == one.plan:
                return
        limit = _limit(folder)
        if limit is not None:
            together = compose([*(earlier.plan for earlier in runs), one.plan])
            spent = together.cost(limit.delta).epsilon
            if spent > limit.epsilon:
                about = f" about {together.about}" if together.about else ""
                raise UserError(
                    f"With this run all {len(runs) + 1} runs on {data} would cost ε = {spent:.4g}{about} at "
                    f"δ = {limit.delta:g}, but their limit is {limit.epsilon:g}; lower privacy.epsilon, or "
                    f"see `raymaskdp privacy budget {data}`."
                )
        line = json.dumps({"run": one.run, "key": one.key, "plan": config.to_dict(one.plan)}, sort_keys=True)
        with open(folder / RUNS, "a", encoding="utf-8") as opened:
            opened.write(line + "\n")
            opened.flush()
            os.fsync(opened.fileno())


def budget(
    data: Path, limit: Limit | None = None, *, others: Sequence[Path] = (), delta: float = 1e-5
) -> BudgetResult:
    """All runs on a data set and their total cost; with `limit`, which is stored for later runs.

    Raises `UserError` for a limit that is spent already, and for one beside `others`: a limit is of one data
    set.

    Args:
      others: data sets of the same videos, whose runs count as well.
      delta: δ of the figures if there is no limit.
    """
    if others and limit is not None:
        raise UserError("A limit is of one clip store; give one, and count the runs on others without it.")
    with _history(data) as folder:
        runs = _read(folder)
        if limit is not None:
            spent = compose([one.plan for one in runs]).cost(limit.delta).epsilon
            if spent > limit.epsilon:
                raise UserError(
                    f"The runs on {data} have cost ε = {_shown(spent)} at δ = {limit.delta:g} already, so "
                    f"{limit.epsilon:g} cannot be their limit."
                )
            _limit(folder)  # a file that is not a limit of an earlier call is not overwritten
            write_json(folder / "limit.json", dataclasses.asdict(limit), ours=True)
        kept = None if others else _limit(folder)
    for other in others:
        with _history(other) as folder:
            runs += _read(folder)
    at = delta if kept is None else kept.delta
    together = compose([one.plan for one in runs])
    cost = together.cost(at)
    return BudgetResult(
        runs=tuple(_priced(one) for one in runs),
        delta=at,
        about=together.about,
        rdp=finite_or_none(cost.rdp),
        pld=finite_or_none(cost.pld),
        epsilon=finite_or_none(cost.epsilon),
        limit=None if kept is None else kept.epsilon,
        left=None if kept is None else max(kept.epsilon - cost.epsilon, 0.0),
    )


def _priced(one: CountedRun) -> PricedRun:
    return PricedRun(
        run=one.run,
        epsilon=finite_or_none(one.plan.epsilon()),
        mechanism=one.plan.mechanism,
        unit=one.plan.unit,
        adjacency=one.plan.adjacency,
    )


@contextlib.contextmanager
def _history(data: Path) -> Iterator[Path]:
    """The data's private folder, held by one process at a time."""
    folder = private_folder(data)
    with only_one(folder / "runs.lock"):
        if end_last_line(folder / RUNS):
            _log.warning(
                "The last line of %s was cut off when a run was killed before its first step; it is removed. "
                "If the file was copied, and cut off so, copy it again.",
                folder / RUNS,
            )
        yield folder


def _read(folder: Path) -> list[CountedRun]:
    path = folder / RUNS
    if not path.is_file():
        return []
    runs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            values: dict[str, Any] = json.loads(line)
            plan = config.build(PrivacyPlan, values["plan"], where=str(path))
            runs.append(CountedRun(run=values["run"], key=values["key"], plan=plan))
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise UserError(
                f"Line {number} of {path} is damaged, so the cost of the runs on these data is not known; "
                "fix it, or remove the line if its run never began."
            ) from error
    return runs


def _limit(folder: Path) -> Limit | None:
    path = folder / "limit.json"
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not a limit that raymaskdp wrote; move it away.") from error
    return config.build(Limit, values, where=str(path))


def _shown(value: float | None) -> str:
    return "∞" if value is None or math.isinf(value) else f"{value:.4g}"
