"""Clothes and hair: cut from surfaces that already move with the body, then moved outwards a little.

Every edge (sleeve, hem, neckline, hairline) is the zero of a field over the rest pose, a T-pose, so
that it is straight and fits every shape. The suit that clothes are cut from is the body file's
`tights` where it has them, and the body's own skin elsewhere (licensed SMPL-H files).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import trimesh

from raymaskdp.bodies import mesh as tools
from raymaskdp.bodies.mesh import Mesh
from raymaskdp.bodies.skeleton import JOINT, JOINT_NAMES

# Shape suffixes: V vertices, J = 52 joints.

Dye = Literal["skin", "hair", "top", "bottom", "shoes", "accent", "white", "iris", "lips"]
"""What an avatar's colours are called."""


@dataclass(frozen=True, kw_only=True)
class Outfit:
    """Clothes by measure. Lengths along limbs count joints.

    Attributes:
      sleeve: where sleeves end: 0 shoulder, 1 elbow, 2 wrist.
      hem: where the top ends, as a height: 0 pelvis, 1 base of the neck.
      neck: how far the neckline lies below the throat, in metres.
      leg: where trousers end: 0 hip, 1 knee, 2 ankle.
      skirt: where a skirt ends, in the same units; 0 for none.
      shoe: where shoes begin, in the same units.
      slack: metres that cloth stands off the suit.
      dress: the skirt has the colour of the top.
      pattern: what the accent colour is used for.
    """

    sleeve: float
    hem: float = -0.08
    neck: float = 0.03
    leg: float = 1.93
    skirt: float = 0.0
    shoe: float = 1.9
    slack: float = 0.008
    dress: bool = False
    pattern: Literal["plain", "stripes", "sleeves", "band", "open", "sides"] = "plain"


OUTFITS: Mapping[str, Outfit] = {
    "t-shirt and jeans": Outfit(sleeve=0.55),
    "striped shirt and trousers": Outfit(sleeve=1.9, pattern="stripes"),
    "sweater and trousers": Outfit(sleeve=1.95, slack=0.016),
    "jacket and trousers": Outfit(sleeve=1.95, hem=-0.12, slack=0.014, pattern="open", shoe=1.85),
    "raglan shirt and jeans": Outfit(sleeve=1.35, pattern="sleeves"),
    "tank top and shorts": Outfit(sleeve=0.15, neck=0.07, leg=0.7, hem=-0.05),
    "t-shirt and shorts": Outfit(sleeve=0.6, leg=0.95, slack=0.014, pattern="band"),
    "tracksuit": Outfit(sleeve=1.95, slack=0.013, hem=0.0, pattern="sides"),
    "blouse and skirt": Outfit(sleeve=1.5, leg=0.4, skirt=0.95, hem=0.12),
    "short dress": Outfit(sleeve=0.3, leg=0.3, skirt=0.85, hem=0.1, dress=True, neck=0.05),
    "long dress": Outfit(sleeve=1.9, leg=0.5, skirt=1.75, hem=0.1, dress=True),
    "workwear and boots": Outfit(sleeve=1.9, slack=0.012, shoe=1.55, pattern="band"),
}  # fmt: skip

HAIRSTYLES = ("bald", "buzz", "short", "full", "bob", "long", "bun", "cap", "headscarf")


@dataclass(frozen=True, kw_only=True, eq=False)
class Wearer:
    """A shaped body to dress.

    Attributes:
      skin: its mesh.
      joints_J3: float32 [52, 3], rest joints.
      garments: surfaces of the body file by name, shaped; may be empty.
      eyes: vertices of the eyeballs; may be empty.
    """

    skin: Mesh
    joints_J3: np.ndarray
    garments: Mapping[str, Mesh]
    eyes: np.ndarray

    def place(self, joint: str, axis: int) -> float:
        """One coordinate of a rest joint."""
        return float(self.joints_J3[JOINT[joint], axis])

    def arm(self, mesh: Mesh) -> np.ndarray:
        """Position along the arm [V]: 0 at the shoulder and in the trunk, 1 elbow, 2 wrist, 3 knuckles."""
        stations = [self.place(f"left_{joint}", 0) for joint in ("shoulder", "elbow", "wrist", "middle1")]
        along = np.interp(np.abs(mesh.rest_V3[:, 0]), stations, [0, 1, 2, 3])
        return along * np.minimum(1, 2 * mesh.weights_VJ[:, _ARM].sum(axis=1))

    def leg(self, mesh: Mesh) -> np.ndarray:
        """Position along the leg [V]: below 0 above the hip, 1 knee, 2 ankle, 3 sole."""
        sole = float(self.skin.rest_V3[:, 1].min())
        stations = [*(self.place(f"left_{joint}", 1) for joint in ("hip", "knee", "ankle")), sole]
        step = stations[0] - stations[1]
        y = mesh.rest_V3[:, 1]
        return np.where(
            y > stations[0], (stations[0] - y) / step, np.interp(-y, -np.array(stations), [0, 1, 2, 3])
        )

    def height(self, mesh: Mesh) -> np.ndarray:
        """Height in the trunk [V]: 0 pelvis, 1 base of the neck."""
        pelvis, neck = self.place("pelvis", 1), self.place("neck", 1)
        return (mesh.rest_V3[:, 1] - pelvis) / (neck - pelvis)

    def throat(self, mesh: Mesh) -> np.ndarray:
        """Metres below the opening of a collar [V], which falls to the front and rises to the sides."""
        x, y, z = (mesh.rest_V3 - self.joints_J3[JOINT["neck"]]).T
        return 0.45 * np.maximum(np.abs(x) - 0.05, 0) - (y + 0.45 * np.minimum(z, 0.1))

    def head_size(self) -> float:
        """Metres from the head joint to the crown."""
        return float(self.skin.rest_V3[:, 1].max() - self.joints_J3[JOINT["head"], 1])

    def head(self, mesh: Mesh) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Coordinates in the head [V]: x left, y up (0 joint, 1 crown), z forward, in head heights."""
        x, y, z = ((mesh.rest_V3 - self.joints_J3[JOINT["head"]]) / self.head_size()).T
        return x, y, z


_ARM = [
    index
    for index, name in enumerate(JOINT_NAMES)
    if name.endswith(("shoulder", "elbow", "wrist", "1", "2", "3")) and not name.startswith("spine")
]


def outfit_pieces(wearer: Wearer, outfit: Outfit) -> list[tuple[Mesh, Dye]]:
    """The clothes of an outfit."""
    suit = wearer.garments.get("tights", wearer.skin)
    # Cloth lies close at the collar and at the shoulder seam of a sleeveless top.
    edge = np.minimum(wearer.throat(suit) - outfit.neck, 0.25 * (outfit.sleeve - wearer.arm(suit)) + 0.02)
    cloth = tools.offset(suit, outfit.slack * np.clip(0.3 + edge / 0.05, 0.3, 1))
    pieces: list[tuple[Mesh, Dye]] = []

    shoes = tools.clip(tools.offset(suit, 0.007), wearer.leg(suit) - outfit.shoe)
    pieces.append((shoes, "shoes"))

    skirt = wearer.garments.get("skirt") if outfit.skirt else None
    if skirt is not None:
        panel = tools.clip(tools.offset(skirt, 0.008), outfit.skirt - wearer.leg(skirt))
        dye: Dye = "top" if outfit.dress else "bottom"
        pieces += [(panel, dye), (tools.lining(panel), dye)]
    leg = outfit.leg if skirt is not None or not outfit.skirt else outfit.skirt
    trousers = suit if skirt is not None else tools.offset(suit, 0.6 * outfit.slack)
    trousers = _clip_all(trousers, leg - wearer.leg(suit), outfit.hem + 0.15 - wearer.height(suit))
    if outfit.pattern == "sides":
        pieces.extend(_split(trousers, "bottom", _side_field(wearer, trousers)))
    else:
        pieces.append((trousers, "bottom"))

    top = _clip_all(
        cloth,
        outfit.sleeve - wearer.arm(suit),
        wearer.height(suit) - outfit.hem,
        wearer.throat(suit) - outfit.neck,
    )
    pieces.extend(_patterned(wearer, top, outfit.pattern))
    return pieces


def covered(wearer: Wearer, outfit: Outfit) -> np.ndarray:
    """Whether clothes hide a vertex of the skin with some margin, bool [V]."""
    arm, leg, height = wearer.arm(wearer.skin), wearer.leg(wearer.skin), wearer.height(wearer.skin)
    throat = wearer.throat(wearer.skin)
    in_top = (
        (arm <= max(outfit.sleeve - 0.12, 0.0)) & (height > outfit.hem + 0.06) & (throat > outfit.neck + 0.03)
    )
    in_trousers = (leg < outfit.leg - 0.08) & (height < outfit.hem + 0.12) & (arm < 0.5)
    in_shoes = leg > outfit.shoe + 0.05
    return in_top | in_trousers | in_shoes


def _patterned(wearer: Wearer, top: Mesh, pattern: str) -> list[tuple[Mesh, Dye]]:
    height, arm = wearer.height(top), wearer.arm(top)
    if pattern == "stripes":
        along = np.where(arm > 0.05, 2.2 * arm, 7.0 * height)
        return _split(top, "top", np.sin(np.pi * along))
    if pattern == "sleeves":
        return _split(top, "top", 0.12 - arm)
    if pattern == "band":
        return _split(top, "top", np.abs(height - 0.62) - 0.09)
    if pattern == "open":
        x, _, z = top.rest_V3.T
        width = 0.02 + 0.05 * np.clip(height, 0, 1.2)
        front = np.minimum(width - np.abs(x), z - float(wearer.joints_J3[JOINT["spine3"], 2]))
        return _split(top, "top", -front)
    if pattern == "sides":
        return _split(top, "top", np.where(arm > 0.1, 0.035 - _above_arm(wearer, top), 1.0))
    return [(top, "top")]


def _split(mesh: Mesh, dye: Dye, field_V: np.ndarray) -> list[tuple[Mesh, Dye]]:
    """A mesh in two colours: `dye` where the field is positive, the accent elsewhere."""
    parts = [(tools.clip(mesh, field_V), dye), (tools.clip(mesh, -field_V), "accent")]
    return [part for part in parts if len(part[0].faces_F3)]


def _above_arm(wearer: Wearer, mesh: Mesh) -> np.ndarray:
    """Metres above the bones of the arm, in the T-pose [V]."""
    return mesh.rest_V3[:, 1] - wearer.place("left_elbow", 1)


def _side_field(wearer: Wearer, mesh: Mesh) -> np.ndarray:
    """Negative in a stripe along the outer side of the legs."""
    x, _, z = mesh.rest_V3.T
    hip, knee = (wearer.joints_J3[JOINT[f"left_{joint}"]] for joint in ("hip", "knee"))
    outer = np.abs(x) - np.interp(-mesh.rest_V3[:, 1], [-hip[1], -knee[1]], [hip[0], knee[0]])
    return np.maximum(np.abs(z - hip[2]) - 0.022, -outer)


def hair_pieces(wearer: Wearer, hairstyle: str) -> list[tuple[Mesh, Dye]]:
    """The hair, or what hides it; nothing for the bald."""
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
        return [(piece, "accent") for piece in (cap, brim, tools.lining(brim))]
    pieces: list[tuple[Mesh, Dye]] = [(cap, "hair")]
    if hairstyle == "bun":
        pieces.append((_on_head(wearer, *_ball(centre=(0, 0.75, -0.62), radius=0.3), size), "hair"))
    strands = wearer.garments.get("hair")
    if strands is not None and hairstyle in _LENGTHS:
        _, y, z = wearer.head(strands)
        pieces.append((_clip_all(strands, y - _LENGTHS[hairstyle], np.maximum(0.38 - z, y - 0.66)), "hair"))
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
"""Hairlines as (z, y) in head coordinates; they run from the nape over the ear to the forehead."""

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
    """A solid thing, given in head coordinates, that moves with the head."""
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


def face_paint(wearer: Wearer) -> dict[Dye, np.ndarray]:
    """Where the skin is not skin-coloured: brows, lips, and the eyes, as masks [V]."""
    x, y, z = wearer.head(wearer.skin)
    side = np.abs(x)
    eyes = np.zeros(len(wearer.skin), dtype=bool)
    eyes[wearer.eyes] = True
    front = (z > 0.4) & (wearer.skin.weights_VJ[:, JOINT["head"]] > 0.3) & ~eyes
    brow = 0.43 - 0.5 * (side - 0.2) ** 2 - 0.03 * (side > 0.28)
    iris = eyes & ((side - 0.205) ** 2 + (y - 0.275) ** 2 < 0.045**2)
    return {
        "hair": front & (np.abs(y - brow) < 0.028) & (side > 0.07) & (side < 0.34),
        "lips": front & (((x / 0.17) ** 2 + ((y + 0.185) / 0.065) ** 2) < 1),
        "white": eyes & ~iris,
        "iris": iris,
    }


def _clip_all(mesh: Mesh, *fields_V: np.ndarray) -> Mesh:
    """The part where all fields are positive: their smallest is a field too."""
    return tools.clip(mesh, np.min(fields_V, axis=0))
