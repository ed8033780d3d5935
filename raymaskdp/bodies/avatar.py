"""Who replaces a person: a look drawn from a keyed hash, which says nothing about the person."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

import numpy as np

Color = tuple[float, float, float]
"""Linear-looking sRGB in [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class Avatar:
    """The look of one avatar.

    Attributes:
      betas: ten SMPL-H shape coefficients in standard deviations.
    """

    betas: tuple[float, ...]

    @property
    def betas_S(self) -> np.ndarray:
        """The shape coefficients as float32 [10]."""
        return np.array(self.betas, dtype=np.float32)


def draw_avatar(secret: bytes, name: str) -> Avatar:
    """The avatar of `name` (a subject or a track) under the run's secret.

    The same secret and name give the same avatar; without the secret, nothing links an avatar to a
    name, because the draw is seeded by HMAC-SHA-256. Nothing of the person enters but the name.
    """
    seed = hmac.digest(secret, name.encode(), hashlib.sha256)
    rng = np.random.default_rng(int.from_bytes(seed, "big"))
    return Avatar(betas=tuple(float(b) for b in np.clip(rng.normal(size=10), -2, 2)))
