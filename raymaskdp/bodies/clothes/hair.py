"""Hair, beards and faces: cut from the skin of the head and offset outwards."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import trimesh

from raymaskdp.bodies import mesh as tools
from raymaskdp.bodies.clothes.wardrobe import Dye, Style, Wearer, clip_all
from raymaskdp.bodies.mesh import Mesh
from raymaskdp.bodies.skeleton import JOINT, JOINT_NAMES

# Shape suffixes: V vertices, J = 52 joints.

HAIRSTYLES: Mapping[str, Style] = {
    "bald": "men", "buzz": "men", "short": "anybody", "full": "anybody", "cap": "anybody",
    "bob": "women", "long": "women", "bun": "women", "headscarf": "women",
}  # fmt: skip


BEARDS = ("none", "stubble", "beard")


def hair_pieces(wearer: Wearer, hairstyle: str) -> list[tuple[Mesh, Dye]]:
    """The hair, or a cover of it; nothing for bald heads."""
    skull = tools.clip(wearer.skin, wearer.skin.weights_VJ[:, JOINT["head"]] - 0.4)
    x, y, z = wearer.head(skull)
    size = wearer.head_size()
    if hairstyle == "headscarf":
        shawl = tools.clip(wearer.skin, wearer.skin.weights_VJ[:, _SHAWL].sum(axis=1) - 0.25)
        x, y, z = wearer.head(shawl)
        ears = np.clip(1 - np.hypot(z - 0.02, y - 0.12) / 0.3, 0, 1) * (np.abs(x) > 0.35)
        draped = tools.offset(shawl, 0.012 + 0.022 * np.clip(-y, 0, 1) - 0.012 * ears)
        oval = (x / 0.40) ** 2 + ((y - 0.10) / 0.60) ** 2
        scarf = tools.clip(draped, np.where(z > 0.2, oval - 1, 1.0))
        return [(scarf, "accent"), (tools.lining(scarf), "accent")]
    line = _HAIRLINES.get(hairstyle)
    if line is None:
        return []
    field = y - np.interp(z, *line)
    thickness = _THICKNESS[hairstyle] * np.clip(field / 0.2, 0.15, 1)
    cap = tools.clip(tools.offset(skull, thickness), field)
    if hairstyle == "cap":
        brim = _on_head(wearer, *_brim(), size)
        hat: list[tuple[Mesh, Dye]] = [(piece, "accent") for piece in (cap, brim, tools.lining(brim))]
        return [*hat, *hair_pieces(wearer, "buzz")]
    pieces: list[tuple[Mesh, Dye]] = [(cap, "hair")]
    if hairstyle == "bun":
        pieces.append((_on_head(wearer, *_ball(centre=(0, 0.75, -0.62), radius=0.3), size), "hair"))
    strands = wearer.garments.get("hair")
    if strands is not None and hairstyle in _LENGTHS:
        _, y, z = wearer.head(strands)
        strands = tools.offset(strands, 0.04 * np.clip((-0.3 - y) / 0.5, 0, 1))  # over the shirt
        pieces.append((clip_all(strands, y - _LENGTHS[hairstyle], np.maximum(0.38 - z, y - 0.66)), "hair"))
    return pieces


_SHAWL = [JOINT["head"], JOINT["neck"]]


_LOW = ([-0.6, -0.12, -0.1, 0.12, 0.3, 0.62], [-0.22, -0.16, 0.26, 0.26, 0.42, 0.66])


_HAIRLINES = {
    "buzz": _LOW,
    "short": _LOW,
    "bun": _LOW,
    "full": ([-0.6, 0.1, 0.2, 0.3, 0.62], [-0.3, -0.1, 0.2, 0.38, 0.62]),
    "bob": ([-0.6, 0.1, 0.2, 0.3, 0.62], [-0.3, -0.1, 0.2, 0.40, 0.64]),
    "long": ([-0.6, 0.1, 0.2, 0.3, 0.62], [-0.3, -0.1, 0.2, 0.40, 0.64]),
    "cap": ([-0.6, 0.62], [0.28, 0.52]),
}
"""Hairlines as (z, y) in head coordinates, from the nape over the ear to the forehead."""


_THICKNESS = {
    "buzz": 0.004, "short": 0.016, "bun": 0.012, "full": 0.030, "bob": 0.022, "long": 0.018, "cap": 0.020,
}  # fmt: skip
"""Metres of hair or cloth on the scalp."""


_LENGTHS = {"bob": -0.55, "long": -1.7}
"""Where strands end, as y in head coordinates."""


def _brim() -> tuple[np.ndarray, np.ndarray]:
    angles = np.linspace(-1.15, 1.15, 13)
    inner = np.stack([0.46 * np.sin(angles), np.full(13, 0.5), 0.08 + 0.52 * np.cos(angles)], axis=1)
    outer = np.stack([0.52 * np.sin(angles), np.full(13, 0.44), 0.20 + 0.95 * np.cos(angles)], axis=1)
    start = np.arange(12)
    quads = np.stack([start, start + 13, start + 14, start + 1], axis=1)
    return np.concatenate([inner, outer]), np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def _ball(centre: tuple[float, float, float], radius: float) -> tuple[np.ndarray, np.ndarray]:
    sphere = trimesh.creation.icosphere(subdivisions=2)
    return np.asarray(sphere.vertices) * radius + centre, np.asarray(sphere.faces)


def _on_head(wearer: Wearer, points_V3: np.ndarray, faces_F3: np.ndarray, size: float) -> Mesh:
    """A solid object, given in head coordinates, that moves with the head."""
    weights = np.zeros((len(points_V3), len(JOINT_NAMES)), dtype=np.float32)
    weights[:, JOINT["head"]] = 1
    return Mesh(
        rest_V3=(wearer.joints_J3[JOINT["head"]] + size * points_V3).astype(np.float32),
        weights_VJ=weights,
        faces_F3=faces_F3.astype(np.int64),
        pose_directions_VP3=np.zeros(
            (len(points_V3), wearer.skin.pose_directions_VP3.shape[1], 3), dtype=np.float32
        ),
    )


def beard_pieces(wearer: Wearer, beard: str) -> list[tuple[Mesh, Dye]]:
    """A full beard; stubble is painted."""
    if beard != "beard":
        return []
    head = tools.clip(wearer.skin, wearer.skin.weights_VJ[:, JOINT["head"]] - 0.3)
    field = _beard_field(wearer, head)
    return [(tools.clip(tools.offset(head, 0.007 * np.clip(field / 0.08, 0, 1)), field), "hair")]


def _beard_field(wearer: Wearer, mesh: Mesh) -> np.ndarray:
    """Positive where a beard grows [V]: jaw, chin and upper lip, in head heights."""
    x, y, z = wearer.head(mesh)
    side = np.abs(x)
    below = np.interp(side, [0, 0.14, 0.22, 0.42], [-0.085, -0.10, -0.16, 0.08]) - y
    mouth = 0.12 * (np.hypot(x / 0.18, (y + 0.185) / 0.062) - 1)
    return np.minimum.reduce([below, mouth, y + 0.62, z - 0.08, mesh.weights_VJ[:, JOINT["head"]] - 0.3])


def face_paint(wearer: Wearer, skin: Mesh, beard: str) -> dict[Dye, np.ndarray]:
    """The parts of the skin mesh `skin` that are not skin-coloured: shares [V] of other dyes, in order."""
    x, y, z = wearer.head(skin)
    side = np.abs(x)
    of_head = skin.weights_VJ[:, JOINT["head"]] > 0.3
    eyeballs = wearer.skin.rest_V3[wearer.eyes]
    eyes = np.isin(skin.rest_V3[:, 2], eyeballs[:, 2]) & np.isin(skin.rest_V3[:, 0], eyeballs[:, 0])
    front = (z > 0.4) & of_head & ~eyes
    brow = 0.43 - 0.5 * (side - 0.2) ** 2 - 0.03 * (side > 0.28)
    iris = eyes & ((side - 0.205) ** 2 + (y - 0.275) ** 2 < 0.045**2)
    cheek = front * np.exp(-(((side - 0.27) / 0.1) ** 2) - ((y - 0.08) / 0.12) ** 2)
    nose = front * np.exp(-((x / 0.08) ** 2) - ((y - 0.05) / 0.07) ** 2)
    grown = of_head * np.clip(_beard_field(wearer, skin) / 0.05, 0, 1) * (beard != "none")
    return {
        "stubble": 0.45 * grown,
        "blush": 0.22 * np.maximum(cheek, nose),
        "hair": 0.85 * (front & (np.abs(y - brow) < 0.024) & (side > 0.07) & (side < 0.34)),
        "lips": (front & (((x / 0.17) ** 2 + ((y + 0.185) / 0.065) ** 2) < 1)).astype(float),
        "white": (eyes & ~iris).astype(float),
        "iris": iris.astype(float),
    }
