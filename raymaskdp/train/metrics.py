"""Metrics of scores: top-k accuracy, AUROC and confusion.

Shapes: B videos, C classes or findings.
"""

from __future__ import annotations

import numpy as np
from scipy import stats


def top(scores_BC: np.ndarray, truth_B: np.ndarray, count: int) -> float:
    """Share of videos whose class is among the `count` with the highest scores, 0 to 1.

    Of equal scores the lower class comes first, as in `argmax`.
    """
    ranked_BC = np.argsort(-scores_BC, axis=1, kind="stable")
    return float((ranked_BC[:, :count] == truth_B[:, None]).any(axis=1).mean())


def confusion(named_B: np.ndarray, truth_B: np.ndarray, classes: int) -> np.ndarray:
    """Number of videos of each class (row) with each prediction (column), int [C, C]."""
    matrix = np.zeros((classes, classes), dtype=int)
    np.add.at(matrix, (truth_B, named_B), 1)
    return matrix


def auroc(scores_B: np.ndarray, there_B: np.ndarray) -> float | None:
    """Area under the receiver operating characteristic of one finding, 0 to 1.

    The chance that a video with the finding has a higher score than one without, ties counting half.
    None if all or no video has it.
    """
    positives, negatives = int(there_B.sum()), int((~there_B).sum())
    if not positives or not negatives:
        return None
    ranks_B = stats.rankdata(scores_B)
    return float((ranks_B[there_B].sum() - positives * (positives + 1) / 2) / (positives * negatives))
