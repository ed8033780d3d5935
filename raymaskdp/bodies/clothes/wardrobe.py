"""Clothes and hair: cut from surfaces that already move with the body, then moved outwards a little.

Every edge (sleeve, hem, neckline, hairline) is the zero of a field over the rest pose, a T-pose, so
that it is straight and fits every shape. The suit that clothes are cut from is the body file's
`tights` where it has them, and the body's own skin elsewhere (licensed SMPL-H files).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import trimesh

from raymaskdp.bodies import mesh as tools
from raymaskdp.bodies.clothes import fabric
from raymaskdp.bodies.mesh import Mesh
from raymaskdp.bodies.skeleton import JOINT, JOINT_NAMES

# Shape suffixes: V vertices, J = 52 joints.

Dye = Literal[
    "skin",
    "hair",
    "top",
    "bottom",
    "shoes",
    "accent",
    "white",
    "iris",
    "lips",
    "blush",
    "stubble",
    "trim",
    "sole",
    "weave",
]
"""What an avatar's colours are called."""

Style = Literal["anybody", "women", "men"]
"""Who wears an outfit or a hairstyle unless asked otherwise."""


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
      slack: metres that cloth stands off the suit; its folds are 0.4 of that deep.
      flare: metres that trouser legs hang away from the ankle.
      style: who wears it.
      dress: the skirt has the colour of the top.
      pattern: what the accent colour is used for.
    """

    sleeve: float
    hem: float = -0.08
    neck: float = 0.03
    leg: float = 1.93
    skirt: float = 0.0
    shoe: float = 1.9
    slack: float = 0.010
    flare: float = 0.024
    style: Style = "anybody"
    dress: bool = False
    pattern: Literal["plain", "stripes", "sleeves", "band", "open", "sides", "checks"] = "plain"


OUTFITS: Mapping[str, Outfit] = {
    "t-shirt and jeans": Outfit(sleeve=0.55, slack=0.013),
    "striped shirt and trousers": Outfit(sleeve=1.9, pattern="stripes"),
    "checked shirt and jeans": Outfit(sleeve=1.9, slack=0.012, pattern="checks", flare=0.02),
    "sweater and trousers": Outfit(sleeve=1.95, slack=0.018),
    "jacket and trousers": Outfit(sleeve=1.95, hem=-0.16, slack=0.016, pattern="open", shoe=1.85),
    "raglan shirt and jeans": Outfit(sleeve=1.35, pattern="sleeves", flare=0.018),
    "tank top and shorts": Outfit(sleeve=0.15, neck=0.07, leg=0.7, hem=-0.05, flare=0.05),
    "t-shirt and shorts": Outfit(sleeve=0.6, leg=0.95, slack=0.016, pattern="band", flare=0.05),
    "tracksuit": Outfit(sleeve=1.95, slack=0.015, hem=-0.02, pattern="sides", flare=0.03),
    "blouse and skirt": Outfit(sleeve=1.5, leg=0.4, skirt=0.95, hem=0.12, style="women"),
    "short dress": Outfit(sleeve=0.3, leg=0.3, skirt=0.85, hem=0.1, dress=True, neck=0.05, style="women"),
    "long dress": Outfit(sleeve=1.9, leg=0.5, skirt=1.75, hem=0.1, dress=True, style="women"),
    "workwear and boots": Outfit(sleeve=1.9, slack=0.015, shoe=1.62, leg=1.72, pattern="band"),
}  # fmt: skip

LINED = 0.06
"""Metres from an edge to which one can look under cloth."""

HAIRSTYLES: Mapping[str, Style] = {
    "bald": "men", "buzz": "men", "short": "anybody", "full": "anybody", "cap": "anybody",
    "bob": "women", "long": "women", "bun": "women", "headscarf": "women",
}  # fmt: skip

BEARDS = ("none", "stubble", "beard")


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
    cloth = tools.span(suit, 25)
    folds_V = 0.4 * outfit.slack * _folds(wearer, suit)
    # Cloth lies close at the collar and at the shoulder seam of a sleeveless top.
    edge = np.minimum(wearer.throat(suit) - outfit.neck, 0.25 * (outfit.sleeve - wearer.arm(suit)) + 0.02)
    ease = np.clip(0.3 + edge / 0.05, 0.3, 1)
    loose = tools.offset(cloth, outfit.slack * ease + ease * folds_V)
    pieces = _shoe_pieces(wearer, suit, outfit)

    skirt = wearer.garments.get("skirt") if outfit.skirt else None
    if skirt is not None:
        panel = tools.clip(_pleated(wearer, skirt), outfit.skirt - wearer.leg(skirt))
        dye: Dye = "top" if outfit.dress else "bottom"
        pieces += [(panel, dye), (tools.lining(panel), "trim" if outfit.dress else dye)]
        trousers = suit
    else:
        hang = np.interp(wearer.leg(suit), [0.1, 0.6, 1.2, 1.9], [0, 0.4, 0.6, 1.0])
        trousers = _sideways(tools.offset(cloth, 0.6 * outfit.slack + folds_V), suit, outfit.flare * hang)
    leg = outfit.leg if skirt is not None or not outfit.skirt else outfit.skirt
    trousers = _clip_all(trousers, leg - wearer.leg(suit), outfit.hem + 0.15 - wearer.height(suit))
    if skirt is None:
        cuff = tools.clip(trousers, LINED - 0.4 * (leg - wearer.leg(trousers)))
        pieces.append((tools.lining(cuff), "bottom"))
    if outfit.pattern == "sides":
        pieces.extend(_split(trousers, "bottom", _side_field(wearer, trousers)))
    else:
        pieces.append((trousers, "bottom"))

    top = _clip_all(
        loose,
        outfit.sleeve - wearer.arm(suit),
        wearer.height(suit) - outfit.hem,
        wearer.throat(suit) - outfit.neck,
    )
    border = np.minimum(wearer.throat(top) - outfit.neck, 0.26 * (outfit.sleeve - wearer.arm(top)))
    hem = 0.5 * (wearer.height(top) - outfit.hem)
    pieces.append((tools.lining(tools.clip(top, LINED - np.minimum(border, hem))), "trim"))
    seam = tools.clip(top, 0.016 - border)
    pieces.append((seam, "trim"))
    pieces.extend(_patterned(wearer, tools.clip(top, border - 0.016), outfit.pattern))
    return pieces


def _shoe_pieces(wearer: Wearer, suit: Mesh, outfit: Outfit) -> list[tuple[Mesh, Dye]]:
    """Shoes: toes are hidden in a cap, and the sole is flat and stands out a little."""
    shoe = tools.clip(tools.offset(tools.span(suit, 12), 0.010), wearer.leg(suit) - outfit.shoe)
    ground = float(shoe.rest_V3[:, 1].min())
    edge_V = shoe.rest_V3[:, 1] - (ground + 0.026)
    upper, sole = tools.clip(shoe, edge_V), tools.clip(shoe, -edge_V)
    sole = _sideways(sole, sole, np.full(len(sole), 0.006))
    low = sole.rest_V3[:, 1] < ground + 0.012
    sole.rest_V3[low, 1] = ground
    return [(upper, "shoes"), (sole, "sole")]


def _folds(wearer: Wearer, suit: Mesh) -> np.ndarray:
    """How far cloth folds outwards [V]: most at elbows, knees, waist and above the shoes."""
    arm, leg, height = wearer.arm(suit), wearer.leg(suit), wearer.height(suit)

    def near(where: np.ndarray, at: float, width: float) -> np.ndarray:
        return np.exp(-(((where - at) / width) ** 2))

    on_arm = np.clip(4 * arm, 0, 1)
    along_V3 = np.stack([on_arm, 1 - on_arm, np.zeros(len(suit))], axis=1)
    waves = fabric.ripples(suit.rest_V3, along_V3, length=0.075, seed=3)
    deep = np.maximum.reduce(
        [near(arm, 1, 0.3), near(arm, 1.85, 0.25), near(leg, 1, 0.25), near(leg, 1.8, 0.2)]
    )
    deep = np.maximum(deep, 0.8 * near(height, 0.12, 0.22) * (arm < 0.02))
    return waves * (0.16 + 0.84 * deep)


def _pleated(wearer: Wearer, skirt: Mesh) -> Mesh:
    """A skirt whose cloth falls in pleats, deeper towards the hem."""
    x, _, z = (skirt.rest_V3 - wearer.joints_J3[JOINT["pelvis"]]).T
    around = np.arctan2(x, z)
    depth = 0.011 * np.clip(wearer.leg(skirt), 0, 1.2)
    return _sideways(skirt, skirt, 0.006 + depth * (1.2 + np.sin(13 * around) + 0.4 * np.sin(5 * around + 1)))


def _sideways(mesh: Mesh, like: Mesh, metres_V: np.ndarray) -> Mesh:
    """The mesh moved level, outwards as `like` faces, by `metres_V` [V]."""
    normals_V3 = tools.vertex_normals(
        like.rest_V3, tools.normal_operator(like.faces_F3, len(like)), like.faces_F3
    )
    level_V3 = normals_V3 * [1, 0, 1]
    moved = mesh.rest_V3 + level_V3 * metres_V[:, None]
    return dataclasses.replace(mesh, rest_V3=moved.astype(np.float32))


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
    if pattern == "checks":
        upright = _split(top, "top", _lines(wearer, top, axis=0), "weave")
        return [
            part
            for piece, dye in upright
            for part in _split(
                piece, dye, _lines(wearer, piece, axis=1), "weave" if dye == "top" else "accent"
            )
        ]
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


def _split(mesh: Mesh, dye: Dye, field_V: np.ndarray, other: Dye = "accent") -> list[tuple[Mesh, Dye]]:
    """A mesh in two colours: `dye` where the field is positive, `other` elsewhere."""
    parts = [(tools.clip(mesh, field_V), dye), (tools.clip(mesh, -field_V), other)]
    return [part for part in parts if len(part[0].faces_F3)]


def _lines(wearer: Wearer, mesh: Mesh, axis: int) -> np.ndarray:
    """Negative in stripes across one axis [V]."""
    place = (mesh.rest_V3 - wearer.joints_J3[JOINT["spine2"]])[:, axis]
    return 0.27 - np.abs(np.mod(place / 0.075, 1) - 0.5)


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
        hat: list[tuple[Mesh, Dye]] = [(piece, "accent") for piece in (cap, brim, tools.lining(brim))]
        return [*hat, *hair_pieces(wearer, "buzz")]
    pieces: list[tuple[Mesh, Dye]] = [(cap, "hair")]
    if hairstyle == "bun":
        pieces.append((_on_head(wearer, *_ball(centre=(0, 0.75, -0.62), radius=0.3), size), "hair"))
    strands = wearer.garments.get("hair")
    if strands is not None and hairstyle in _LENGTHS:
        _, y, z = wearer.head(strands)
        strands = tools.offset(strands, 0.04 * np.clip((-0.3 - y) / 0.5, 0, 1))  # over the shirt
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
    """Where `skin`, a part of the wearer's, is not skin-coloured: shares [V] of other dyes, in order."""
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


def _clip_all(mesh: Mesh, *fields_V: np.ndarray) -> Mesh:
    """The part where all fields are positive: their smallest is a field too."""
    return tools.clip(mesh, np.min(fields_V, axis=0))
