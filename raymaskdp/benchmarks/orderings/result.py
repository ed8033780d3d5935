"""The result of the benchmark of orderings: accuracies, paired differences, and what they decide."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from raymaskdp.benchmarks.orderings.arms import PAIRS
from raymaskdp.benchmarks.orderings.draws import TEST
from raymaskdp.benchmarks.orderings.significance import LEVEL, holm, paired_difference


@dataclass(frozen=True, kw_only=True)
class ArmAccuracy:
    """One arm at one ε.

    Attributes:
      epsilon: None without privacy.
      accuracy: mean over draws and seeds, 0 to 1.
      draw_spread, seed_spread: standard deviations, of the means of draws, and of seeds within a draw.
    """

    arm: str
    epsilon: float | None
    accuracy: float
    draw_spread: float
    seed_spread: float


@dataclass(frozen=True, kw_only=True)
class ArmComparison:
    """One arm against another at one ε, on the same draws and seeds.

    Attributes:
      points: mean of the first's accuracy less the second's, in points.
      low, high: its 95 % interval, for this comparison alone.
      p, corrected_p: two-sided; after Holm's correction for all comparisons of the result.
    """

    first: str
    second: str
    epsilon: float
    points: float
    low: float
    high: float
    p: float
    corrected_p: float

    @property
    def better(self) -> str | None:
        """The arm that is better; None if that is not decided."""
        if self.corrected_p >= LEVEL:
            return None
        return self.first if self.points > 0 else self.second

    def __str__(self) -> str:
        pair, interval = f"{self.first} − {self.second}", f"({self.low:+.1f} to {self.high:+.1f})"
        verdict = f"{self.better} is better" if self.better else "not decided"
        return (
            f"{pair:<20} ε = {self.epsilon:<4g}  {self.points:+5.1f} {interval:<17}  "
            f"p = {self.p:.2g}, corrected {self.corrected_p:.2g}: {verdict}"
        )


@dataclass(frozen=True, kw_only=True)
class OrderingsResult:
    """All arms and comparisons.

    Attributes:
      trials: the table of all trials, Parquet.
      draws, seeds: their numbers.
      train_videos: in every draw.
      test_videos: in the smallest and in the largest test.
      arms, comparisons: what was measured.
    """

    trials: str
    draws: int
    seeds: int
    train_videos: int
    test_videos: tuple[int, int]
    arms: tuple[ArmAccuracy, ...]
    comparisons: tuple[ArmComparison, ...]

    def __str__(self) -> str:
        low, high = self.test_videos
        tested = f"{low}" if low == high else f"{low} to {high}"
        lines = [
            f"{self.train_videos} training and {tested} test videos of other people; {self.draws} draws of "
            f"the people × {self.seeds} seeds. Mean accuracy:",
            *_table(self.arms),
            "Differences in points on the same draws and seeds, with 95 % intervals; p-values are also "
            f"corrected for {len(self.comparisons)} comparisons (Holm):",
            *(f"  {one}" for one in self.comparisons),
        ]
        decided = [
            f"{one.better} over {one.second if one.better == one.first else one.first} at ε = {one.epsilon:g}"
            for one in self.comparisons
            if one.better
        ]
        unsure = [
            f"{one.first} and {one.second} at ε = {one.epsilon:g}"
            for one in self.comparisons
            if not one.better
        ]
        if decided:
            lines.append(f"Decided: {'; '.join(decided)}.")
        if unsure:
            lines.append(f"Not decided, either may be better or neither: {'; '.join(unsure)}.")
        lines.append(f"All trials: {self.trials}")
        return "\n".join(lines)


def _table(arms: Sequence[ArmAccuracy]) -> list[str]:
    epsilons = list(dict.fromkeys(one.epsilon for one in arms if one.epsilon is not None))
    lines = [f"  {'ε':14}" + "".join(f"{epsilon:>7g}" for epsilon in epsilons)]
    for name in dict.fromkeys(one.arm for one in arms):
        own = {one.epsilon: one.accuracy for one in arms if one.arm == name}
        if None in own:
            lines.append(f"  {name:14}{own[None]:7.3f}")
        else:
            lines.append(f"  {name:14}" + "".join(f"{own[epsilon]:7.3f}" for epsilon in epsilons))
    return lines


def result_of(trials: pd.DataFrame, path: str) -> OrderingsResult:
    """The result from the table of all trials (`TrialTable`)."""
    final = trials[trials["part"] == TEST]
    ratio = float(final["test_videos"].mean() / final["train_videos"].mean())
    arms = []
    for (name, epsilon), rows in final.groupby(["arm", "epsilon"], sort=False):
        by_draw = rows.groupby("draw")["accuracy"]
        arms.append(
            ArmAccuracy(
                arm=str(name),
                epsilon=None if math.isinf(epsilon) else float(epsilon),
                accuracy=float(rows["accuracy"].mean()),
                draw_spread=float(by_draw.mean().std()),
                seed_spread=float((by_draw.var().fillna(0.0).mean()) ** 0.5),
            )
        )
    return OrderingsResult(
        trials=path,
        draws=int(final["draw"].nunique()),
        seeds=int(final["seed"].nunique()),
        train_videos=int(final["train_videos"].min()),
        test_videos=(int(final["test_videos"].min()), int(final["test_videos"].max())),
        arms=tuple(arms),
        comparisons=_comparisons(final, ratio),
    )


def _comparisons(final: pd.DataFrame, test_to_train: float) -> tuple[ArmComparison, ...]:
    paired = final.pivot(index=["epsilon", "draw", "seed"], columns="arm", values="accuracy")
    found = []
    for first, second in PAIRS:
        points = 100 * (paired[first] - paired[second]).dropna()
        for epsilon, of_draws in points.groupby(["epsilon", "draw"]).mean().groupby("epsilon"):
            found.append((first, second, epsilon, paired_difference(of_draws, test_to_train=test_to_train)))
    corrected = holm([difference.p for *_, difference in found])
    return tuple(
        ArmComparison(
            first=first,
            second=second,
            epsilon=float(epsilon),
            points=round(difference.mean, 3),
            low=round(difference.low, 3),
            high=round(difference.high, 3),
            p=difference.p,
            corrected_p=p,
        )
        for (first, second, epsilon, difference), p in zip(found, corrected, strict=True)
    )
