"""The training curve of a run: public values of every step."""

from __future__ import annotations

import functools
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from raymaskdp.check import finite_or_none
from raymaskdp.errors import Damaged
from raymaskdp.files import read_file, write_text
from raymaskdp.privacy import PrivacyPlan
from raymaskdp.privacy.prices.accounting import rdp_epsilon
from raymaskdp.train.run.job import TrainingJob


@dataclass(frozen=True)
class StepReport:
    """Public values of a step. Of private records only ε, and not the time, which reveals a lot's size.

    Attributes:
      step: updates made so far.
      epsilon: upper bound on what is spent so far; None without a guarantee.
      public_loss: mean loss of the public lot; of the training lot if nothing is private; else None.
      clipping_norm: of the step, if it adapts: a function of the releases before it.
    """

    step: int
    epsilon: float | None
    public_loss: float | None
    clipping_norm: float | None = None


class Curve:
    """The training curve, one line of JSON per step; a repeated step replaces its line."""

    def __init__(self, job: TrainingJob, start: int) -> None:
        self._job = job
        kept = [line for line in read_curve(job.curve_file) if line.step <= start]
        write_text(job.curve_file, "".join(json.dumps(asdict(line)) + "\n" for line in kept), ours=True)

    def add(
        self, step: int, loss: float | None, *, spent: int, clipping_norm: float | None = None
    ) -> StepReport:
        """Write the line of the latest step; `spent` releases were made up to it."""
        report = StepReport(step, spent_at_most(self._job.plan, spent), loss, clipping_norm)
        with open(self._job.curve_file, "a", encoding="utf-8") as opened:
            opened.write(json.dumps(asdict(report)) + "\n")
        return report


def spent_at_most(plan: PrivacyPlan, step: int) -> float | None:
    """A quick upper bound on ε after `step` steps: by RDP, of the next tenth of the run. None if infinite."""
    tenth = max(plan.steps // 10, 1)
    return finite_or_none(_spent(plan, min(math.ceil(step / tenth) * tenth, plan.steps)))


@functools.lru_cache(maxsize=256)
def _spent(plan: PrivacyPlan, steps: int) -> float:
    return min(rdp_epsilon(plan.event(steps), plan.delta), plan.epsilon())


def read_curve(path: Path) -> list[StepReport]:
    """The lines of a curve; none if there is no file. A last line cut off by a crash is dropped.

    Raises `Damaged` if another line is not one.
    """
    if not path.exists():
        return []
    lines = read_file(path).splitlines(keepends=True)
    try:
        return [StepReport(**json.loads(line)) for line in lines if line.endswith(b"\n")]
    except (ValueError, TypeError) as error:
        raise Damaged(f"{path} is damaged: it is not a training curve; restore it from a copy.") from error
