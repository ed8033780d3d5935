"""Matching of queries to a gallery, and the accuracy by chance.

Chance is not 1 / subjects here: all videos of a subject may have one avatar, so its queries hit or miss
together. It is estimated by permuting the names of the subjects, which corresponds to avatars that are
independent of their subjects.

Shape suffixes: Q queries, G gallery entries.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DEALS = 2000
SURE = 0.005
"""A result whose probability by chance is below this is a finding."""


@dataclass(frozen=True, kw_only=True)
class Matching:
    """Figures of one attack; 0 to 1.

    Attributes:
      queries, subjects: their numbers.
      rank1: share of queries whose nearest gallery entry is of their subject.
      mean_ap: mean average precision.
      tar: share of true pairs above the threshold that `far` of the false pairs exceed.
      chance, chance_low, chance_high: mean and 95 % interval of `rank1` under permuted names.
      p: share of permutations with at least this `rank1`.
    """

    queries: int
    subjects: int
    rank1: float
    mean_ap: float
    tar: float
    far: float
    chance: float
    chance_low: float
    chance_high: float
    p: float

    @property
    def found(self) -> bool:
        """Whether the result cannot be explained by chance."""
        return self.p < SURE


@dataclass(frozen=True, kw_only=True, eq=False)
class Entries:
    """Queries or a gallery: features, float [N, D]; each one's subject, video and camera ("": unknown)."""

    features_ND: np.ndarray
    subjects_N: np.ndarray
    videos_N: np.ndarray
    cameras_N: np.ndarray

    def of(self, chosen_N: np.ndarray) -> Entries:
        """Some of the entries."""
        return Entries(
            features_ND=self.features_ND[chosen_N],
            subjects_N=self.subjects_N[chosen_N],
            videos_N=self.videos_N[chosen_N],
            cameras_N=self.cameras_N[chosen_N],
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """Similarities [Q, G] of queries to a gallery, −inf where a pair is not compared, and their subjects."""

    similarity_QG: np.ndarray
    query_Q: np.ndarray
    gallery_G: np.ndarray


def compare(queries: Entries, gallery: Entries) -> Scores:
    """Cosine similarities; a video is not compared with itself, nor with one of the same camera.

    Backgrounds stay, so videos of different people would match by the same room.
    """
    similarity_QG = _unit(queries.features_ND) @ _unit(gallery.features_ND).T
    same_QG = queries.videos_N[:, None] == gallery.videos_N
    cameras_QG = (queries.cameras_N[:, None] == gallery.cameras_N) & (gallery.cameras_N != "")
    return Scores(
        similarity_QG=np.where(same_QG | cameras_QG, -np.inf, similarity_QG),
        query_Q=queries.subjects_N,
        gallery_G=gallery.subjects_N,
    )


def match(parts: list[Scores], *, far: float = 0.01, seed: int = 0) -> Matching:
    """The figures over several sets of queries, each with its own gallery."""
    rng = np.random.default_rng(seed)
    nearest = [part.gallery_G[part.similarity_QG.argmax(1)] for part in parts]
    whole = _rank1([part.query_Q for part in parts], nearest)
    # The names of the subjects are permuted within each part.
    permuted = np.array(
        [_rank1([_permuted(part.query_Q, rng) for part in parts], nearest) for _ in range(DEALS)]
    )
    low, high = np.quantile(permuted, [0.025, 0.975])
    return Matching(
        queries=sum(len(part.query_Q) for part in parts),
        subjects=len({subject for part in parts for subject in part.query_Q}),
        rank1=whole,
        mean_ap=float(np.mean(np.concatenate([_average_precisions(part) for part in parts]))),
        tar=_tar(parts, far),
        far=far,
        chance=float(permuted.mean()),
        chance_low=float(low),
        chance_high=float(high),
        p=float((1 + np.count_nonzero(permuted >= whole - 1e-12)) / (1 + DEALS)),
    )


def _permuted(subjects_Q: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    names, places = np.unique(subjects_Q, return_inverse=True)
    return np.asarray(rng.permutation(names)[places])


def _rank1(queries: list[np.ndarray], nearest: list[np.ndarray]) -> float:
    return float(np.mean(np.concatenate(queries) == np.concatenate(nearest)))


def _average_precisions(part: Scores) -> np.ndarray:
    """Average precision of each query, [Q]; 0 without a true entry."""
    found = []
    for similarity_G, subject in zip(part.similarity_QG, part.query_Q, strict=True):
        shown = np.isfinite(similarity_G)
        order = np.argsort(-similarity_G[shown], kind="stable")
        right = (part.gallery_G[shown] == subject)[order]
        ranks = np.flatnonzero(right) + 1
        found.append(float(np.mean(np.arange(1, len(ranks) + 1) / ranks)) if len(ranks) else 0.0)
    return np.array(found)


def _tar(parts: list[Scores], far: float) -> float:
    true, false = [], []
    for part in parts:
        same_QG = part.query_Q[:, None] == part.gallery_G
        shown_QG = np.isfinite(part.similarity_QG)
        true.append(part.similarity_QG[same_QG & shown_QG])
        false.append(part.similarity_QG[~same_QG & shown_QG])
    pairs, others = np.concatenate(true), np.concatenate(false)
    if not len(pairs) or not len(others):
        return 0.0
    return float(np.mean(pairs > np.quantile(others, 1 - far)))


def _unit(features_ND: np.ndarray) -> np.ndarray:
    return np.asarray(features_ND / np.maximum(np.linalg.norm(features_ND, axis=1, keepdims=True), 1e-9))
