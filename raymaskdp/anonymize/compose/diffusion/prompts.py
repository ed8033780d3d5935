"""The prompt: words for an avatar and for the light of the emptied scene.

The appearance of avatars is drawn from a secret and independent of the person.
"""

from __future__ import annotations

import numpy as np

from raymaskdp.bodies.avatar import Avatar, Color
from raymaskdp.bodies.clothes.hair import HAIRSTYLES
from raymaskdp.bodies.clothes.wardrobe import OUTFITS
from raymaskdp.bodies.figure import Figure

# Shape suffixes: V vertices, H rows and W columns of a frame.


COLORS: dict[str, Color] = {
    "black": (0.08, 0.08, 0.08), "dark gray": (0.30, 0.30, 0.31), "gray": (0.48, 0.48, 0.48),
    "light gray": (0.68, 0.66, 0.64), "white": (0.88, 0.88, 0.86), "red": (0.62, 0.13, 0.14),
    "orange": (0.78, 0.38, 0.12), "yellow": (0.82, 0.67, 0.20), "green": (0.17, 0.40, 0.24),
    "olive": (0.40, 0.44, 0.25), "teal": (0.12, 0.45, 0.46), "blue": (0.25, 0.42, 0.66),
    "navy blue": (0.14, 0.20, 0.38), "purple": (0.40, 0.20, 0.45), "pink": (0.80, 0.45, 0.55),
    "brown": (0.36, 0.24, 0.15), "tan": (0.55, 0.42, 0.28), "beige": (0.76, 0.68, 0.55),
}  # fmt: skip

SKINS = ("very dark", "dark", "brown", "tanned", "light", "fair")
"""Names of skin tones, from the darkest sixth of their range of brightness to the lightest."""

SHORT_M, TALL_M = 1.63, 1.75
"""Statures below and above which the prompt mentions them: the outer thirds of 36 drawn avatars."""

SLIM, STOUT = 0.148, 0.174
"""The same for the ratio of the trunk's depth to the stature."""


DIM, BRIGHT = 0.06, 0.35
"""Mean linear values of a frame from 0 to 1 below and above which its light is called dim or bright."""

WARM, COOL = 1.35, 0.75
"""Ratios of red to blue, in linear light, above and below which it is called warm or cool."""


def prompt_for(avatar: Avatar, figure: Figure, light: str, template: str) -> str:
    """The template, filled with the avatar's appearance and the scene's light."""
    return template.format(
        light=light,
        person=_person(avatar),
        years=f"{5 * round(avatar.years / 5)} years old",
        build=_build(figure),
        skin=_skin(avatar.skin),
        hair=_hair(avatar),
        outfit=avatar.outfit,
        top=color_name(avatar.top),
        bottom=color_name(avatar.bottom),
        shoes=color_name(avatar.shoes),
    )


def light_of(emptied_HW3: np.ndarray) -> str:
    """Words for the light in a frame without people, uint8: brightness, and colour if it has one."""
    red, green, blue = ((emptied_HW3 / np.float32(255)) ** np.float32(2.2)).mean(axis=(0, 1)) + 1e-3
    value, ratio = (red + green + blue) / 3, red / blue
    brightness = "dim" if value < DIM else "bright" if value > BRIGHT else "natural"
    color = " warm" if ratio > WARM else " cool" if ratio < COOL else ""
    return brightness + color


def color_name(color: Color) -> str:
    """The nearest of `COLORS`."""
    return min(COLORS, key=lambda name: sum((a - b) ** 2 for a, b in zip(color, COLORS[name], strict=True)))


def _person(avatar: Avatar) -> str:
    age = "young " if avatar.years < 30 else "old " if avatar.years > 62 else ""
    styles = {OUTFITS[avatar.outfit].style, HAIRSTYLES[avatar.hairstyle]}
    sex = "woman" if "women" in styles else "man" if "men" in styles or avatar.beard != "none" else "person"
    return f"an {age}{sex}" if age == "old " else f"a {age}{sex}"


def _skin(color: Color) -> str:
    dark, light = 0.15, 0.88  # the range of what is drawn
    share = (float(np.mean(color)) - dark) / (light - dark)
    return SKINS[int(np.clip(share * len(SKINS), 0, len(SKINS) - 1))]


def _hair(avatar: Avatar) -> str:
    color = color_name(avatar.hair)
    hair = {
        "bald": "bald head",
        "buzz": f"a {color} buzz cut",
        "cap": "a baseball cap",
        "full": f"full {color} hair",
        "bob": f"{color} hair in a bob",
        "bun": f"{color} hair in a bun",
        "headscarf": "a headscarf",
    }.get(avatar.hairstyle, f"{avatar.hairstyle} {color} hair")
    return hair if avatar.beard == "none" else f"{hair}, {color} {avatar.beard}"


def _build(figure: Figure) -> str:
    stature, depth = measures(figure)
    height = "short" if stature < SHORT_M else "tall" if stature > TALL_M else ""
    girth = "slim" if depth < SLIM else "stout" if depth > STOUT else ""
    return " and ".join(word for word in (height, girth) if word) or "of average build"


def measures(figure: Figure) -> tuple[float, float]:
    """The stature in metres, and the trunk's depth as a fraction of it, at 60 % of the height."""
    rest_V3 = figure.pose(np.zeros((1, 52, 3), np.float32), np.zeros((1, 3), np.float32))[0]
    low, high = rest_V3[:, 1].min(), rest_V3[:, 1].max()
    waist = np.abs((rest_V3[:, 1] - low) / (high - low) - 0.6) < 0.02
    middle = waist & (np.abs(rest_V3[:, 0]) < 0.12)
    stature = float(high - low)
    return stature, float(np.ptp(rest_V3[middle, 2])) / stature
