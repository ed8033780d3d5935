"""Comparing the clips of records with their public views."""

from __future__ import annotations

from torch import Tensor


def changed_clips(clips: Tensor, public: Tensor) -> Tensor:
    """Which clips differ from their public view in any value: bool [N, K] from two tensors [N, K, …].

    A clip that equals its public view adds nothing to the residual, but computed as a difference it adds
    a rounding error. Multiplying its weight with False makes it exactly zero. NaN differs from everything.
    """
    return (clips != public).flatten(2).any(2)
