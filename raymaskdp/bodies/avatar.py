"""The appearance of an avatar, drawn from a keyed hash, independent of the person."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from raymaskdp.bodies.clothes.hair import BEARDS, HAIRSTYLES
from raymaskdp.bodies.clothes.wardrobe import OUTFITS, Style

Color = tuple[float, float, float]
"""sRGB, each channel in [0, 1]."""

SKINS: tuple[Color, ...] = (
    (0.96, 0.84, 0.75), (0.91, 0.74, 0.62), (0.85, 0.66, 0.52), (0.76, 0.57, 0.42), (0.65, 0.46, 0.32),
    (0.54, 0.36, 0.25), (0.42, 0.28, 0.19), (0.30, 0.20, 0.14),
)  # fmt: skip
"""Skin tones from light to dark, evenly spaced."""

HAIRS: tuple[Color, ...] = (
    (0.08, 0.07, 0.06), (0.17, 0.11, 0.08), (0.30, 0.19, 0.11), (0.45, 0.29, 0.16), (0.70, 0.53, 0.32),
    (0.50, 0.20, 0.10),
)  # fmt: skip

GREYS: tuple[Color, ...] = ((0.38, 0.36, 0.34), (0.52, 0.50, 0.48), (0.66, 0.65, 0.63))
"""Hair colours of old people."""

CLOTHS: tuple[Color, ...] = (
    (0.86, 0.86, 0.84), (0.13, 0.14, 0.16), (0.42, 0.43, 0.45), (0.15, 0.22, 0.42), (0.25, 0.42, 0.66),
    (0.62, 0.13, 0.14), (0.78, 0.38, 0.12), (0.82, 0.67, 0.20), (0.17, 0.40, 0.24), (0.45, 0.50, 0.26),
    (0.12, 0.45, 0.46), (0.40, 0.20, 0.45), (0.80, 0.45, 0.55), (0.55, 0.40, 0.28), (0.76, 0.68, 0.55),
)  # fmt: skip

BOTTOMS: tuple[Color, ...] = (
    (0.14, 0.18, 0.30), (0.24, 0.32, 0.47), (0.10, 0.10, 0.11), (0.32, 0.32, 0.34), (0.55, 0.47, 0.36),
    (0.30, 0.24, 0.18), (0.28, 0.32, 0.22), (0.70, 0.68, 0.64),
)  # fmt: skip

SHOES: tuple[Color, ...] = (
    (0.85, 0.85, 0.85), (0.08, 0.08, 0.08), (0.30, 0.20, 0.13), (0.55, 0.12, 0.12), (0.15, 0.22, 0.40),
)  # fmt: skip

MAX_BETA = 2.0

MALE = (0.72, -0.26, -0.24, -0.56, 0.15, 0.07, 0.06, -0.02, 0.08, 0.09)
"""Unit direction from women to men in the embedded body's shape space: the correlations of the coefficients
with the sex of the people that the body was built from."""

SEX_DISTANCE = 0.7
"""Least distance of a drawn male or female shape from the middle, in standard deviations."""

DIFFERENT, LEGIBLE, REDRAWS = 0.2, 0.25, 16
"""Two avatars with a contrast below the first can be confused (one pair in eight). Limbs of an avatar with a
legibility below the second are hard to see (two in three). In either case an avatar is drawn again, up to
this many times."""

LONGEST_SKIRT = 1.0
"""Lowest hem of an avatar's skirt, in the wardrobe's units: at the knees. A longer one hides kicks and steps.
"""

ADULT_YEARS = (18.0, 80.0)


@dataclass(frozen=True, kw_only=True)
class Avatar:
    """The appearance of one avatar; every field may be published.

    Attributes:
      betas: ten SMPL-H shape coefficients in standard deviations, at most 2 from the mean adult.
      skin, hair, top, bottom, shoes, accent: colours, sRGB in [0, 1].
      hairstyle: a name in `hair.HAIRSTYLES`.
      beard: a name in `hair.BEARDS`.
      years: age of an adult; it greys the hair.
      fold: in [0, 1), selects a texture if there is a folder of textures.
      outfit: a name in `wardrobe.OUTFITS`.
    """

    betas: tuple[float, ...]
    skin: Color
    hair: Color
    top: Color
    bottom: Color
    shoes: Color
    accent: Color
    hairstyle: str
    beard: str
    outfit: str
    years: float
    fold: float

    @property
    def betas_S(self) -> np.ndarray:
        """The shape coefficients as float32 [10]."""
        return np.array(self.betas, dtype=np.float32)


def draw_avatar(secret: bytes, name: str) -> Avatar:
    """The avatar of `name` (a subject or a track) under the run's secret.

    The same secret and name give the same avatar on every machine. Without the secret the two cannot be
    linked: the draw is seeded by HMAC-SHA-256, and the name is its only input about the person.
    """
    seed = hmac.digest(secret, name.encode(), hashlib.sha256)
    rng = np.random.default_rng(int.from_bytes(seed, "big"))
    betas_S, male = _sexed(rng.normal(size=10))
    top, accent = rng.permutation(len(CLOTHS))[:2]
    years = float(rng.uniform(*ADULT_YEARS))
    grey = rng.uniform() < (years - 35) / 40
    return Avatar(
        betas=tuple(float(b) for b in betas_S),
        skin=_blended(rng, SKINS),
        hair=_blended(rng, GREYS) if grey else _one(rng, HAIRS),
        top=CLOTHS[top],
        bottom=_one(rng, BOTTOMS),
        shoes=_one(rng, SHOES),
        accent=CLOTHS[accent],
        hairstyle=_worn(rng, HAIRSTYLES, male),
        beard=str(rng.choice(BEARDS)) if male else "none",
        outfit=_worn(rng, {name: outfit.style for name, outfit in OUTFITS.items()}, male),
        years=years,
        fold=float(rng.uniform()),
    )


def draw_avatars(secret: bytes, names: Sequence[str]) -> list[Avatar]:
    """Avatars of people who appear together: their motion is visible, and they can be distinguished.

    For each, the first of several draws is taken that is legible and differs from the previous ones; if there
    is none, the best draw. So the first person's avatar depends on their name alone.
    """
    avatars: list[Avatar] = []
    for name in names:
        drawn: list[Avatar] = []
        while not drawn or (len(drawn) <= REDRAWS and _fitness(drawn[-1], avatars) < 1):
            drawn.append(draw_avatar(secret, f"{name}/{len(drawn)}" if drawn else name))
        avatars.append(max(drawn, key=lambda avatar: _fitness(avatar, avatars)))
    return avatars


def legibility(avatar: Avatar) -> float:
    """Visibility of an avatar's limbs in front of its body, 0 to 1; 0 if a skirt hides the legs.

    It is the smallest colour difference between hands and top, top and bottom, and bottom and shoes. These
    differences show an arm before the chest, or a foot before the other leg.
    """
    if OUTFITS[avatar.outfit].skirt > LONGEST_SKIRT:
        return 0.0
    parts = ((avatar.skin, avatar.top), (avatar.top, avatar.bottom), (avatar.bottom, avatar.shoes))
    return min(_difference(first, second) for first, second in parts)


def contrast(one: Avatar, other: Avatar) -> float:
    """Colour difference of two avatars, 0 to 1: half of it is the top, the rest bottom and skin."""
    top, bottom, skin = (
        _difference(first, second)
        for first, second in ((one.top, other.top), (one.bottom, other.bottom), (one.skin, other.skin))
    )
    return 0.5 * top + 0.3 * bottom + 0.2 * skin


def _difference(one: Color, other: Color) -> float:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def _fitness(avatar: Avatar, others: Sequence[Avatar]) -> float:
    """At least 1 for a legible avatar that differs from the others; below 1, how close it is to that."""
    apart = min((contrast(avatar, other) for other in others), default=1.0)
    return min(apart / DIFFERENT, legibility(avatar) / LEGIBLE)


def _sexed(drawn_S: np.ndarray) -> tuple[np.ndarray, bool]:
    """A shape from ten normal numbers, clearly male or female as those of most adults; and whether it is
    male.
    """
    direction_S = np.array(MALE) / np.linalg.norm(MALE)
    along = float(drawn_S @ direction_S)
    apart = np.copysign(SEX_DISTANCE, along) - along if abs(along) < SEX_DISTANCE else 0.0
    return np.clip(drawn_S + apart * direction_S, -MAX_BETA, MAX_BETA), along > 0


def _worn(rng: np.random.Generator, styles: Mapping[str, Style], male: bool) -> str:
    return str(
        rng.choice(
            sorted(name for name, style in styles.items() if style in ("anybody", "men" if male else "women"))
        )
    )


def _one(rng: np.random.Generator, palette: tuple[Color, ...]) -> Color:
    return palette[int(rng.integers(len(palette)))]


def _blended(rng: np.random.Generator, palette: tuple[Color, ...]) -> Color:
    position = rng.uniform(0, len(palette) - 1)
    low = min(int(position), len(palette) - 2)
    mixed = np.array(palette[low]) * (low + 1 - position) + np.array(palette[low + 1]) * (position - low)
    red, green, blue = (float(channel) for channel in mixed)
    return red, green, blue
