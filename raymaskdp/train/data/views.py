"""The sensitive part of a frame, and its two views in training.

The rule (docs/privacy-guarantee.md): a token is non-sensitive only if every source pixel that
contributes to any of its pixels lies inside the rendered avatar. Such a token is read from the
avatar layer, never from the composite, where blending, lossy coding and refinement mix real
background into avatar pixels.

Shapes: T frames, H rows and W columns at training size, h and w rows and columns of tokens; S and R
rows and columns of the source.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np


@dataclass(frozen=True)
class Resampling:
    """Scaling of a window of the source to training size, with the aspect kept.

    Downwards each output pixel is the mean of the source rectangle that it covers, upwards it is
    interpolated between the nearest source pixels (bilinear). Either way the source pixels it depends
    on are known exactly: those with a weight above zero.

    Attributes:
      rows_HS, columns_WR: weights along each axis, each row sums to 1.
    """

    rows_HS: np.ndarray
    columns_WR: np.ndarray

    @classmethod
    def between(cls, source: tuple[int, int], target: tuple[int, int]) -> Self:
        """The largest window in the middle, from (height, width) of the source to those of the target."""
        scale = largest_scale(source, target)
        middle = ((source[0] - target[0] * scale) / 2, (source[1] - target[1] * scale) / 2)
        return cls.window(source, target, scale, middle)

    @classmethod
    def window(
        cls, source: tuple[int, int], target: tuple[int, int], scale: float, corner: tuple[float, float]
    ) -> Self:
        """A window of `scale` source pixels a target pixel whose upper left corner is at (row, column)."""
        return cls(
            _coverage(source[0], target[0], scale, corner[0]),
            _coverage(source[1], target[1], scale, corner[1]),
        )

    def frames(self, frames_TSR3: np.ndarray) -> np.ndarray:
        """Resample colours; uint8 [T, S, R, 3] to uint8 [T, H, W, 3], rounded to nearest."""
        small = np.einsum("hs,tsrc->thrc", self.rows_HS, frames_TSR3.astype(np.float32), optimize=True)
        small = np.einsum("wr,thrc->thwc", self.columns_WR, small, optimize=True)
        return np.floor(small + 0.5).clip(0, 255).astype(np.uint8)

    def touched(self, mask_TSR: np.ndarray) -> np.ndarray:
        """Whether any source pixel of the mask contributes; bool [T, S, R] to bool [T, H, W]."""
        rows = (self.rows_HS > 0).astype(np.float32)
        columns = (self.columns_WR > 0).astype(np.float32)
        # Whole numbers far below 2^24: exact in float32.
        counts = np.einsum("hs,tsr,wr->thw", rows, mask_TSR.astype(np.float32), columns, optimize=True)
        return np.asarray(counts > 0)


def largest_scale(source: tuple[int, int], target: tuple[int, int]) -> float:
    """Source pixels a target pixel of the largest window that fits into the source."""
    return min(source[0] / target[0], source[1] / target[1])


def _coverage(source: int, target: int, scale: float, start: float) -> np.ndarray:
    """The share of source pixel j in target pixel i, float32 [target, source]; rows sum to 1."""
    edges = start + np.arange(target + 1) * scale
    pixels = np.arange(source)
    if scale < 1:
        centres = (edges[1:, None] + edges[:-1, None]) / 2
        weights = np.clip(1 - np.abs(pixels + 0.5 - centres), 0.0, None)
    else:
        weights = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights = np.where(weights > 1e-6, weights, 0.0)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def sensitive_tokens(sensitive_THW: np.ndarray, token: int) -> np.ndarray:
    """Tokens with at least one sensitive pixel; bool [T, H, W] to bool [T, h, w], `token` px a side."""
    frames, height, width = sensitive_THW.shape
    cut = sensitive_THW.reshape(frames, height // token, token, width // token, token)
    return np.logical_or.reduce(cut, axis=(2, 4))


def expand(tokens_Thw: np.ndarray, token: int) -> np.ndarray:
    """Tokens as pixels: [T, h, w] to [T, H, W]."""
    return tokens_Thw.repeat(token, axis=1).repeat(token, axis=2)


def full_view(composite_THW3: np.ndarray, avatar_THW3: np.ndarray, sensitive_THW: np.ndarray) -> np.ndarray:
    """The composite where sensitive, the avatar layer elsewhere."""
    return np.where(sensitive_THW[..., None], composite_THW3, avatar_THW3)


def public_view(full_THW3: np.ndarray, sensitive_THW: np.ndarray, fill: int) -> np.ndarray:
    """The constant `fill` where sensitive, the (avatar layer's) pixels elsewhere.

    A selection, not a product: the value of a sensitive pixel, even NaN, has no influence.
    """
    return np.where(sensitive_THW[..., None], np.asarray(fill, dtype=full_THW3.dtype), full_THW3)
