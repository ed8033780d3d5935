"""Clothes: cut from surfaces that already move with the body, then offset outwards a little.

Every edge (sleeve, hem, neckline, hairline) is the zero level of a field over the rest pose, a T-pose, so it
is straight and fits every shape. Clothes are cut from the body file's `tights` if it has them, and from the
body's own skin otherwise (licensed SMPL-H files).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

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
"""The names of an avatar's colours."""

Style = Literal["anybody", "women", "men"]
"""The avatars that wear an outfit or a hairstyle by default."""


@dataclass(frozen=True, kw_only=True)
class Outfit:
    """Clothes by their measures. Lengths along limbs are counted in joints.

    Attributes:
      sleeve: end of the sleeves: 0 shoulder, 1 elbow, 2 wrist.
      hem: end of the top, as a height: 0 pelvis, 1 base of the neck.
      neck: distance of the neckline below the throat, in metres.
      leg: end of the trousers: 0 hip, 1 knee, 2 ankle.
      skirt: end of the skirt, in the same units; 0 for none.
      shoe: upper end of the shoes, in the same units.
      slack: distance of the cloth from the suit, in metres; its folds are 0.4 of that deep.
      flare: distance of trouser legs from the ankle, in metres.
      style: the avatars that wear it.
      dress: whether the skirt has the colour of the top.
      pattern: the use of the accent colour.
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
"""Metres from an edge within which the inside of cloth is visible."""


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
    # Cloth is close to the body at the collar and at the shoulder seam of a sleeveless top.
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
    trousers = clip_all(trousers, leg - wearer.leg(suit), outfit.hem + 0.15 - wearer.height(suit))
    if skirt is None:
        cuff = tools.clip(trousers, LINED - 0.4 * (leg - wearer.leg(trousers)))
        pieces.append((tools.lining(cuff), "bottom"))
    if outfit.pattern == "sides":
        pieces.extend(_split(trousers, "bottom", _side_field(wearer, trousers)))
    else:
        pieces.append((trousers, "bottom"))

    top = clip_all(
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
    """Shoes with a cap over the toes and a flat sole that protrudes a little."""
    shoe = tools.clip(tools.offset(tools.span(suit, 12), 0.010), wearer.leg(suit) - outfit.shoe)
    ground = float(shoe.rest_V3[:, 1].min())
    edge_V = shoe.rest_V3[:, 1] - (ground + 0.026)
    upper, sole = tools.clip(shoe, edge_V), tools.clip(shoe, -edge_V)
    sole = _sideways(sole, sole, np.full(len(sole), 0.006))
    low = sole.rest_V3[:, 1] < ground + 0.012
    sole.rest_V3[low, 1] = ground
    return [(upper, "shoes"), (sole, "sole")]


def _folds(wearer: Wearer, suit: Mesh) -> np.ndarray:
    """Outward displacement of folds [V]: largest at elbows, knees, waist and above the shoes."""
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
    """A skirt with pleats, deeper towards the hem."""
    x, _, z = (skirt.rest_V3 - wearer.joints_J3[JOINT["pelvis"]]).T
    around = np.arctan2(x, z)
    depth = 0.011 * np.clip(wearer.leg(skirt), 0, 1.2)
    return _sideways(skirt, skirt, 0.006 + depth * (1.2 + np.sin(13 * around) + 0.4 * np.sin(5 * around + 1)))


def _sideways(mesh: Mesh, like: Mesh, metres_V: np.ndarray) -> Mesh:
    """The mesh moved horizontally, outwards as `like` faces, by `metres_V` [V]."""
    normals_V3 = tools.vertex_normals(
        like.rest_V3, tools.normal_operator(like.faces_F3, len(like)), like.faces_F3
    )
    level_V3 = normals_V3 * [1, 0, 1]
    moved = mesh.rest_V3 + level_V3 * metres_V[:, None]
    return dataclasses.replace(mesh, rest_V3=moved.astype(np.float32))


def covered(wearer: Wearer, outfit: Outfit) -> np.ndarray:
    """Whether clothes hide a vertex of the skin with a margin, bool [V]."""
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


def clip_all(mesh: Mesh, *fields_V: np.ndarray) -> Mesh:
    """The part in which all fields are positive: the minimum of fields is a field too."""
    return tools.clip(mesh, np.min(fields_V, axis=0))
