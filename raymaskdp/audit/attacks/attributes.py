"""Attribute inference: stature, sex and preferred side, inferred for people unknown to the attacker.

The attacker has other people with known attributes, and learns from their sources or, if it adapts, from
their anonymized videos. It is a ridge regression on ±1 over all people except the one in question, so its
output is linear in the attributes of the training. Permuting these among the people gives the exact
distribution of chance, training included. A person is classified once, from all their videos, because one
avatar links them.

Shape suffixes: V videos, S subjects, D features, N permutations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from raymaskdp.audit.attacks import motion
from raymaskdp.audit.attacks.identification import Expected
from raymaskdp.audit.attacks.matching import DEALS, SURE
from raymaskdp.audit.collect import CollectedPair
from raymaskdp.bodies.avatar import MALE

RIDGE = 0.1
"""Penalty for each feature, for features of spread 1."""
LEAST_OF_EACH = 3
"""Least number of people of either kind; with fewer, any result is consistent with chance."""
LIKELY = 0.05
LIMBS, MOVING, OUTLINE = "limb lengths", "way of moving", "outline"


@dataclass(frozen=True, kw_only=True)
class Inference:
    """One attribute, inferred from one kind of feature.

    Attributes:
      attribute: "stature" (taller than half of the people), "sex" or "preferred side".
      guessed_from: "limb lengths", "way of moving" or "outline" (height and width of the published mask).
      trained_on, asked_about: "source" or "anonymized".
      expected: "wins" for a control; "chance" if a better result is a leak; "stays" if anonymization does not
        remove it.
      videos, subjects: numbers of videos and people in the test.
      accuracy: share of people classified correctly, the mean over both kinds of people; 0 to 1.
      chance_low, chance_high: 95 % interval of `accuracy` under permuted attributes.
      p: share of permutations with at least this accuracy.
    """

    attribute: str
    guessed_from: str
    trained_on: str
    asked_about: str
    expected: Expected
    videos: int
    subjects: int
    accuracy: float
    chance_low: float
    chance_high: float
    p: float

    @property
    def name(self) -> str:
        """The attribute and the feature."""
        return (
            f"{self.attribute} from the {self.guessed_from}, trained on {self.trained_on}, "
            f"tested on {self.asked_about}"
        )

    @property
    def found(self) -> bool:
        """Whether the result cannot be explained by chance."""
        return self.p < SURE

    @property
    def likely(self) -> bool:
        """Whether the result is unlikely by chance: sufficient for a control, and to be reported."""
        return self.p < LIKELY


def infer(seen: list[CollectedPair], *, seed: int) -> tuple[list[Inference], list[str]]:
    """All inferences; and sentences about those that were impossible."""
    usable = [s for s in seen if s.source_skeleton and s.output_skeleton]
    if not usable:
        return [], ["Attributes: no video shows one person alone, with a skeleton before and after."]
    subjects_V = np.array([str(s.case.row.subject) for s in usable])
    before = [s.source_skeleton for s in usable if s.source_skeleton]
    features = _features(usable)
    done: list[Inference] = []
    not_shown = []
    for attribute, value_V, sources in (
        ("stature", _is_taller(before, subjects_V), (LIMBS, MOVING, OUTLINE)),
        ("sex", _sex(usable), (LIMBS, MOVING, OUTLINE)),
        ("preferred side", _side(before, subjects_V), (MOVING,)),
    ):
        if value_V is None:
            not_shown.append(f"{attribute} is not known for these sources, so it was not inferred.")
            continue
        of_each = [len(set(subjects_V[value_V == kind])) for kind in (True, False)]
        if min(of_each) < LEAST_OF_EACH:
            not_shown.append(f"{attribute}: inference needs {LEAST_OF_EACH} people of either kind.")
            continue
        for place in sources:
            done += _inferences(attribute, value_V, place, features, subjects_V, seed)
    return done, not_shown


_Features = Mapping[tuple[str, str], np.ndarray]
"""Features of each video, [V, D], by kind of feature and by "source" or "anonymized"."""


def _features(usable: list[CollectedPair]) -> _Features:
    """All features, relative to those of the same action."""
    actions_V = np.array([s.case.row.label or "" for s in usable])
    before = [s.source_skeleton for s in usable if s.source_skeleton]
    after = [s.output_skeleton for s in usable if s.output_skeleton]

    def of(
        skeletons: list[motion.MovingSkeleton], what: Callable[[motion.MovingSkeleton], np.ndarray]
    ) -> np.ndarray:
        return motion.standardized(np.stack([what(skeleton) for skeleton in skeletons]), actions_V)

    return {
        (LIMBS, "source"): of(before, motion.MovingSkeleton.limbs),
        (LIMBS, "anonymized"): of(after, motion.MovingSkeleton.limbs),
        (MOVING, "source"): of(before, motion.MovingSkeleton.gait),
        (MOVING, "anonymized"): of(after, motion.MovingSkeleton.gait),
        (OUTLINE, "anonymized"): motion.standardized(
            np.stack([s.outline for s in usable if s.outline is not None]), actions_V
        ),
    }


def _inferences(
    attribute: str,
    value_V: np.ndarray,
    place: str,
    features: _Features,
    subjects_V: np.ndarray,
    seed: int,
) -> Iterator[Inference]:
    """One attribute from one kind of feature, for attackers that learn from sources or from outputs."""
    for taught, asked in (("source", "source"), ("source", "anonymized"), ("anonymized", "anonymized")):
        if (place, taught) not in features:
            continue
        weights_VV = _influence(features[place, taught], features[place, asked], subjects_V)
        expected: Expected = "wins" if asked == "source" else "chance" if place == LIMBS else "stays"
        accuracy, low, high, p = _against_chance(weights_VV, value_V, subjects_V, seed)
        yield Inference(
            attribute=attribute,
            guessed_from=place,
            trained_on=taught,
            asked_about=asked,
            expected=expected,
            videos=len(value_V),
            subjects=len(set(subjects_V)),
            accuracy=accuracy,
            chance_low=low,
            chance_high=high,
            p=p,
        )


def _is_taller(skeletons: list[motion.MovingSkeleton], subjects_V: np.ndarray) -> np.ndarray:
    """Whether the person of each video has longer legs and arms than half of the people, bool [V]."""
    length_V = _of_subject(np.array([skeleton.limbs().sum() for skeleton in skeletons]), subjects_V)
    _, first = np.unique(subjects_V, return_index=True)
    return np.asarray(length_V > np.median(length_V[first]))


def _sex(seen: list[CollectedPair]) -> np.ndarray | None:
    """Whether the body of each source is a man's, bool [V]; None where the truth is not known."""
    if not all(s.shape is not None for s in seen):
        return None
    return np.array([float(s.shape @ np.array(MALE)) > 0 for s in seen if s.shape is not None])


def _side(skeletons: list[motion.MovingSkeleton], subjects_V: np.ndarray) -> np.ndarray:
    """Whether a person's left hand and foot move more than the right ones, over all videos, bool [V]."""
    more_V = np.array([skeleton.left_over_right() for skeleton in skeletons])
    return np.asarray(_of_subject(more_V, subjects_V) > 0)


def _of_subject(value_V: np.ndarray, subjects_V: np.ndarray) -> np.ndarray:
    """The mean over each subject's videos, for each video, [V]."""
    _, place_V = np.unique(subjects_V, return_inverse=True)
    return np.asarray((np.bincount(place_V, value_V) / np.bincount(place_V))[place_V])


def _influence(taught_VD: np.ndarray, asked_VD: np.ndarray, subjects_V: np.ndarray) -> np.ndarray:
    """Weight of each other video's attribute in the inference for each video, [V, V]."""
    weights_VV = np.zeros((len(asked_VD), len(taught_VD)))
    for subject in np.unique(subjects_V):
        own_V = subjects_V == subject
        known = taught_VD[~own_V]
        inner = known @ known.T + RIDGE * known.size * np.eye(len(known))
        weights_VV[np.ix_(own_V, ~own_V)] = np.linalg.solve(inner, known @ asked_VD[own_V].T).T
    return weights_VV


def _against_chance(
    weights_VV: np.ndarray, value_V: np.ndarray, subjects_V: np.ndarray, seed: int
) -> tuple[float, float, float, float]:
    """Accuracy, 95 % interval of chance, and share of permutations with at least this accuracy."""
    rng = np.random.default_rng(seed)
    _, first, place_V = np.unique(subjects_V, return_index=True, return_inverse=True)
    own_S = np.where(value_V[first], 1.0, -1.0)
    called_SN = np.stack([own_S, *(rng.permutation(own_S) for _ in range(DEALS))], axis=1)
    called_VN = called_SN[place_V]
    # The mean of the training attributes is no evidence, so each output is relative to it.
    known_VV = subjects_V[:, None] != subjects_V
    usual_VN = (known_VV @ called_VN) / known_VV.sum(1, keepdims=True)
    said_VN = weights_VV @ called_VN - weights_VV.sum(1, keepdims=True) * usual_VN
    of_SV = np.arange(len(own_S))[:, None] == place_V
    one_SN = called_SN > 0
    right_SN = (of_SV @ said_VN > 0) == one_SN
    accuracy_N = 0.5 * (
        (right_SN & one_SN).sum(0) / one_SN.sum(0) + (right_SN & ~one_SN).sum(0) / (~one_SN).sum(0)
    )
    low, high = np.quantile(accuracy_N[1:], [0.025, 0.975])
    p = (1 + np.count_nonzero(accuracy_N[1:] >= accuracy_N[0] - 1e-12)) / (1 + DEALS)
    return float(accuracy_N[0]), float(low), float(high), float(p)
