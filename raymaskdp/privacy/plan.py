"""The one object that defines a private run: unit, adjacency, sampler, clipping, noise and its price.

Nothing else in the package draws a lot or noise for training, so a run whose accountant does not match
its sampler or its noise cannot be expressed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from raymaskdp import check
from raymaskdp.errors import UserError
from raymaskdp.privacy import noise, statement
from raymaskdp.privacy.choices import (
    ADJACENCIES,
    MASKED,
    MECHANISMS,
    AdaptiveNorm,
    Adjacency,
    ClippingName,
    Mechanism,
    Unit,
)
from raymaskdp.privacy.keys import Key
from raymaskdp.privacy.per_record.adaptive import COUNT, AdaptiveClipping
from raymaskdp.privacy.per_record.clipped_sum import ClippedSum
from raymaskdp.privacy.per_record.clipping import CLIPPINGS, Clipping
from raymaskdp.privacy.prices import accounting
from raymaskdp.privacy.prices.accounting import Cost, SubsampledGaussian
from raymaskdp.privacy.sampling import PoissonSampling


@dataclass(frozen=True, kw_only=True)
class PrivacyPlan:
    """The privacy-relevant part of a training run.

    Attributes (all public; so is everything derived from them):
      mechanism: `sgd` (no privacy), `dpsgd` (one clip a record), `multiclip` (K clips, averaged before
        clipping), `maskdp` (K clips minus their public views, plus a public branch) or `maskdp-full`
        (K clips, plus a public branch).
      num_records: N, the number of records.
      expected_batch: the expected size qN of a lot, in (0, N].
      clips: K ≥ 1; 1 for `dpsgd`.
      steps: T ≥ 1.
      delta: δ in (0, 1).
      noise_multiplier: σ ≥ 0, the noise's standard deviation over the clipping norm C. 0 is no privacy.
      clipping_norm: C > 0, the greatest norm of a record's contribution; with `adaptive`, of the first step.
      clipping: `flat`, `automatic`, `per-layer` or `adaptive`.
      adaptive: how C is adapted; for `adaptive` clipping only, which uses defaults if it is None.
      adjacency: `zero-out` (masked mechanisms: one record's sensitive tokens are all fill in one of the
        two datasets; others: one record contributes nothing in one of them), `add-remove` or `replace`.
      unit: what a record is, a `video` or a `subject`.
      public_batch: expected size q′N of the public lot (masked mechanisms), in (0, N].
      public_weight: λ ≥ 0 of the public branch (masked mechanisms).
    """

    mechanism: Mechanism
    num_records: Annotated[int, check.Range(1)]
    expected_batch: float
    clips: Annotated[int, check.Range(1)] = 1
    steps: Annotated[int, check.Range(1)]
    delta: Annotated[float, check.Range(0, 1, open_low=True, open_high=True)]
    noise_multiplier: Annotated[float, check.Range(0)]
    clipping_norm: Annotated[float, check.POSITIVE] = 1.0
    clipping: ClippingName = "flat"
    adaptive: AdaptiveNorm | None = None
    adjacency: Adjacency = "zero-out"
    unit: Unit = "video"
    public_batch: float | None = None
    public_weight: Annotated[float, check.Range(0)] = 1.0

    def __post_init__(self) -> None:
        check.fields(self)
        check.one_of("mechanism", self.mechanism, MECHANISMS)
        check.one_of("adjacency", self.adjacency, ADJACENCIES)
        check.one_of("unit", self.unit, ("video", "subject"))
        check.one_of("clipping", self.clipping, (*CLIPPINGS, "adaptive"))
        self._check_adaptive()
        check.in_range("expected_batch", self.expected_batch, low=0, high=self.num_records, open_low=True)
        if self.mechanism == "dpsgd" and self.clips != 1:
            raise UserError(
                f"The mechanism dpsgd takes one clip per record, but clips is {self.clips}; use multiclip."
            )
        if self.mechanism == "sgd" and self.noise_multiplier != 0:
            raise UserError("The mechanism sgd has no noise; set noise_multiplier to 0, or use dpsgd.")
        if self.is_masked:
            if self.adjacency == "add-remove":
                raise UserError(
                    f"The mechanism {self.mechanism} publishes which records exist, so add-remove adjacency "
                    "does not hold for it; use zero-out or replace."
                )
            if self.public_batch is not None:
                check.in_range("public_batch", self.public_batch, low=0, high=self.num_records, open_low=True)
        elif self.public_batch is not None:
            raise UserError(f"The mechanism {self.mechanism} has no public branch; remove public_batch.")

    @classmethod
    def calibrate(
        cls,
        *,
        mechanism: Mechanism,
        num_records: int,
        expected_batch: float,
        delta: float,
        steps: int | None = None,
        epochs: float | None = None,
        epsilon: float | None = None,
        noise_multiplier: float | None = None,
        clips: int = 1,
        clipping_norm: float = 1.0,
        clipping: ClippingName = "flat",
        adaptive: AdaptiveNorm | None = None,
        adjacency: Adjacency = "zero-out",
        unit: Unit = "video",
        public_batch: float | None = None,
        public_weight: float = 1.0,
    ) -> PrivacyPlan:
        """A plan from a target ε or a noise multiplier, and from steps or epochs (exactly one of each pair).

        An epoch is ⌊N / expected batch⌋ steps, at least one. `sgd` takes neither ε nor noise.
        """
        if (steps is None) == (epochs is None):
            raise UserError("Give steps or epochs: one of them, and not both.")
        if epochs is not None:
            check.positive("epochs", epochs)
            check.positive("expected_batch", expected_batch)
            steps = max(1, round(epochs * max(1, math.floor(num_records / expected_batch))))
        assert steps is not None
        if mechanism == "sgd":
            if epsilon is not None:
                raise UserError("The mechanism sgd has no epsilon; remove it, or use dpsgd.")
            noise_multiplier = noise_multiplier or 0.0
        elif (epsilon is None) == (noise_multiplier is None):
            raise UserError("Give either epsilon or noise_multiplier, and not both.")
        draft = cls(
            mechanism=mechanism,
            num_records=num_records,
            expected_batch=expected_batch,
            clips=clips,
            steps=steps,
            delta=delta,
            noise_multiplier=noise_multiplier if noise_multiplier is not None else 1.0,
            clipping_norm=clipping_norm,
            clipping=clipping,
            adaptive=adaptive,
            adjacency=adjacency,
            unit=unit,
            public_batch=public_batch,
            public_weight=public_weight,
        )
        if epsilon is None:
            return draft
        calibrated = accounting.calibrate_noise(
            lambda multiplier: dataclasses.replace(draft, noise_multiplier=multiplier).event(),
            epsilon=epsilon,
            delta=delta,
        )
        return dataclasses.replace(draft, noise_multiplier=calibrated)

    # What is sampled

    @property
    def rate(self) -> float:
        """q, the probability that a record is in a lot."""
        return self.expected_batch / self.num_records

    @property
    def expected_public_batch(self) -> float:
        """q′N: `public_batch`, or the expected batch if none is given."""
        return self.expected_batch if self.public_batch is None else self.public_batch

    @property
    def public_scale(self) -> float:
        """λ / (q′N): the factor of the public lot's summed gradient. 0 without a public branch."""
        return self.public_weight / self.expected_public_batch if self.is_masked else 0.0

    def lot(self, key: Key, step: int) -> npt.NDArray[np.int64]:
        """Indices of the records of `step` in [0, N), sorted, shape [n]; n may be 0."""
        self._check_step(step)
        sampling = PoissonSampling(rate=self.rate)
        return sampling.lot(num_records=self.num_records, key=key, step=step, stream="lot")

    def public_lot(self, key: Key, step: int) -> npt.NDArray[np.int64]:
        """Indices of the records whose public views are used in `step`; independent of `lot`.

        It is public. If it were the lot itself, it would reveal the lot's records, and the amplification by
        subsampling that the price of the plan depends on would be lost.
        """
        self._check_step(step)
        if not self.is_masked or self.public_weight == 0:
            return np.zeros(0, dtype=np.int64)
        sampling = PoissonSampling(rate=self.expected_public_batch / self.num_records)
        return sampling.lot(num_records=self.num_records, key=key, step=step, stream="public lot")

    # What is computed for a record

    @property
    def is_masked(self) -> bool:
        """Whether there is a public branch."""
        return self.mechanism in MASKED

    @property
    def view_weights(self) -> tuple[float, ...]:
        """The weight of each view's loss in the gradient of its record, clips first, shape [V]."""
        clip = 1.0 / self.clips
        if self.mechanism == "maskdp":
            return (clip,) * self.clips + (-clip,) * self.clips
        return (clip,) * self.clips

    @property
    def num_views(self) -> int:
        """V, the number of views of a record that go through the model in a private step: K or 2K."""
        return len(self.view_weights)

    def make_clipping(self) -> Clipping | None:
        """How a record's gradient is bounded; None for `sgd`, which does not bound it."""
        if self.mechanism == "sgd":
            return None
        if self.adaptive is not None:
            # A blank record's residual is zero, and is no longer than C; one that is longer takes its place.
            absent = self._contribution == "one-sided"
            return AdaptiveClipping(
                clipping_norm=self.clipping_norm,
                adaptive=self.adaptive,
                centre=0.0 if absent and self.mechanism == "maskdp" else 0.5,
                absent=absent,
            )
        return CLIPPINGS[self.clipping](clipping_norm=self.clipping_norm)

    def at(self, clipping_norm: float) -> PrivacyPlan:
        """The plan with another C in force, for one step: its clipping, noise and grid are for that."""
        return dataclasses.replace(self, clipping_norm=clipping_norm)

    def next_norm(self, update: Mapping[str, Tensor]) -> float:
        """C of the next step, from the release of a step with this one; else unchanged."""
        clipping = self.make_clipping()
        if not isinstance(clipping, AdaptiveClipping):
            return self.clipping_norm
        return clipping.next_norm(float(update[COUNT]))

    # What is released, and what it costs

    @property
    def sensitivity(self) -> float:
        """Largest change of the sum of clipped gradients by one record, by the adjacency; inf for `sgd`.

        With adaptive clipping, the sum and the scaled count together, at the C in force. Before rounding, for
        which `noise_std` is larger by `noise.MARGIN`.
        """
        clipping = self.make_clipping()
        if clipping is None:
            return math.inf
        return clipping.bound * (1 if self._contribution == "one-sided" else 2)

    @property
    def noise_std(self) -> float:
        """Standard deviation of the noise in every coordinate of the sum: σ · C, and `noise.MARGIN` more."""
        clipping = self.make_clipping()
        return 0.0 if clipping is None else self.noise_multiplier * clipping.bound * (1 + noise.MARGIN)

    @property
    def grid_step(self) -> float | None:
        """The step of the grid of sums and noise, a power of two; None without noise."""
        clipping = self.make_clipping()
        if clipping is None or not self.noise_std:
            return None
        return noise.grid_step(self.noise_std, most=self.num_records * clipping.bound)

    def require_fine_grid(self, *, parameters: int, sums: int) -> None:
        """Raise `UserError` if sums of so many micro-batches are rounded by more than is accounted for."""
        clipping, step = self.make_clipping(), self.grid_step
        if clipping is not None and step is not None:
            # Of two norms one may have a grid that is coarser by two beside its noise.
            worst = step if self.adaptive is None else 2 * step
            noise.require_fine(worst, bound=clipping.bound, parameters=parameters, sums=sums)

    def noise(self, key: Key, step: int, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
        """The noise of `step` for named shapes, float64 on the CPU; independent over names and steps."""
        grid = self.grid_step or 1.0
        return {name: value.double() * grid for name, value in self.whole_noise(key, step, shapes).items()}

    def whole_noise(self, key: Key, step: int, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
        """The same in whole steps of the grid, int64; zeros without noise."""
        self._check_step(step)
        grid = self.grid_step
        if grid is None:
            return {name: torch.zeros((), dtype=torch.int64).expand(shape) for name, shape in shapes.items()}
        return noise.whole_noise(shapes, standard_deviation=self.noise_std, step=grid, key=key, number=step)

    def on_grid(self, total: ClippedSum) -> ClippedSum:
        """The sum over a micro-batch in whole steps of the grid, int64; unchanged without noise.

        Sums of integers are the same on all devices, in any order.
        """
        return total if self.grid_step is None else noise.on_grid(total, self.grid_step)

    def add_to(self, total: ClippedSum, part: ClippedSum) -> None:
        """Add the sum over a micro-batch, which is consumed, to one that is `on_grid`, in place."""
        noise.add_to(total, part, self.grid_step)

    def private_update(self, total: ClippedSum, key: Key, step: int) -> dict[str, Tensor]:
        """(sum + noise) / expected batch for every trainable parameter, float32: the release.

        `total` is the sum over all micro-batches and all workers, `on_grid` or to be rounded now. Every
        worker may call this: the noise is the same on all, so it enters once. The divisor is public, never
        the size of the drawn lot.
        """
        shapes = {name: tuple(value.shape) for name, value in total.gradients.items()}
        return self.released(total, self.whole_noise(key, step, shapes))

    def released(self, total: ClippedSum, drawn: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same with noise of the step `drawn` before: each may be used for one sum only."""
        grid = self.grid_step
        if grid is None:
            return {name: value / self.expected_batch for name, value in total.gradients.items()}
        scale = grid / self.expected_batch
        return {  # parameter by parameter: whole numbers take twice the memory of the sum
            name: (noise.in_whole_steps(value, grid) + drawn[name].to(value.device))
            .double()
            .mul_(scale)
            .float()
            for name, value in total.gradients.items()
        }

    def event(self, steps: int | None = None) -> SubsampledGaussian:
        """The event that the accountants compose, for the whole run or its first `steps`."""
        return SubsampledGaussian(
            rate=self.rate,
            noise_multiplier=self.noise_multiplier,
            steps=self.steps if steps is None else steps,
            contribution=self._contribution,
        )

    def cost(self, steps: int | None = None) -> Cost:
        """Upper bounds on ε at the plan's δ, for the whole run or its first `steps`; infinite for `sgd`."""
        return accounting.cost(self.event(steps), self.delta)

    def epsilon(self, steps: int | None = None) -> float:
        """The tighter of the bounds of `cost`."""
        return self.cost(steps).epsilon

    @property
    def guarantee_statement(self) -> str:
        """What the plan's ε covers, in a sentence for a report."""
        if self.mechanism == "sgd" or self.noise_multiplier == 0:
            return "Nothing is promised: there is no noise."
        clipping = self.make_clipping()
        assert clipping is not None
        return statement.guarantee_statement(
            self.adjacency,
            self.unit,
            masked=self.is_masked,
            clipping=clipping,
            contribution=self._contribution,
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """Facts that weaken the guarantee, a sentence each; none without a guarantee."""
        if self.delta * self.num_records < 1 or self.noise_multiplier == 0:
            return ()
        return (
            f"delta is {self.delta:g}, but with {self.num_records} records it should be below "
            f"{1 / self.num_records:.2g}: publishing one whole record at random would satisfy it.",
        )

    @property
    def _contribution(self) -> Literal["one-sided", "two-sided"]:
        if self.adjacency == "replace" or self.mechanism == "maskdp-full":
            return "two-sided"
        return "one-sided"

    def _check_adaptive(self) -> None:
        if self.clipping != "adaptive" or self.mechanism == "sgd":
            if self.adaptive is not None and self.clipping != "adaptive":
                raise UserError(
                    f"Settings of adaptive clipping were given with clipping={self.clipping}; remove them, "
                    "or use clipping=adaptive."
                )
            return
        if self.noise_multiplier == 0:
            raise UserError("Adaptive clipping needs noise, or its counts would be released as they are.")
        adaptive = AdaptiveNorm() if self.adaptive is None else self.adaptive
        object.__setattr__(self, "adaptive", adaptive)
        check.in_range("clipping_norm", self.clipping_norm, low=adaptive.least, high=adaptive.most)

    def _check_step(self, step: int) -> None:
        if not 0 <= step < self.steps:
            raise UserError(
                f"Step {step} is outside the plan's {self.steps} steps; its budget is for those only."
            )
