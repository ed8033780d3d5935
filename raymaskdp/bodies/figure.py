"""A dressed avatar as one mesh, the input of the renderer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse

from raymaskdp.bodies import mesh as tools
from raymaskdp.bodies.avatar import Avatar, Color
from raymaskdp.bodies.body import Body, Surface
from raymaskdp.bodies.clothes import fabric
from raymaskdp.bodies.clothes.hair import beard_pieces, face_paint, hair_pieces
from raymaskdp.bodies.clothes.textures import Textures, load_textures
from raymaskdp.bodies.clothes.wardrobe import OUTFITS, Dye, Wearer, covered, outfit_pieces
from raymaskdp.bodies.mesh import Mesh
from raymaskdp.bodies.skinning import skin
from raymaskdp.bodies.without_legs import Unseen, without

# Shape suffixes: T frames, V vertices of the dressed mesh, F faces, J = 52 joints.


CELLS_M = (0.0, 0.004, 0.008, 0.012, 0.018)
"""Cell sizes, in metres, of the coarser copies of a figure. Each cell keeps one vertex."""


REFINED = ("tights", "skirt", "hair")
"""The surfaces of the body file that are too coarse for folds and hems."""

SHADE = 0.35
"""Brightness of a vertex that no ambient light reaches."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Detail:
    """A figure's triangles at one level of detail.

    Attributes:
      used: the figure's vertices that are kept, int64 [U].
      faces_F3: int64 [F, 3], indices into `used`.
      colors_U3: float32 [U, 3], sRGB in [0, 1].
    """

    used: np.ndarray
    faces_F3: np.ndarray
    colors_U3: np.ndarray
    normal_operator: scipy.sparse.csr_array

    def normals(self, vertices_U3: np.ndarray) -> np.ndarray:
        """Unit normals, float32 [U, 3], of the posed vertices that are kept."""
        return tools.vertex_normals(vertices_U3, self.normal_operator, self.faces_F3)


@dataclass(frozen=True, kw_only=True, eq=False)
class Paint:
    """An image on a figure. It multiplies the figure's colours.

    Attributes:
      image: uint8 RGB [rows, columns, 3].
      uv_V2: float32 [V, 2], columns and rows from the upper left, in [0, 1].
      vertex_V: int64 [V]; vertices with the same number are one vertex, duplicated at a seam of the image.
    """

    image: np.ndarray
    uv_V2: np.ndarray
    vertex_V: np.ndarray


class Figure:
    """An avatar's dressed mesh; make it once a track with `dress`.

    Attributes:
      faces_F3: int64 [F, 3].
      colors_V3: float32 [V, 3], sRGB in [0, 1].
      dyes_V: the part of each vertex, `wardrobe.Dye` by name.
      paint: its texture, or None.
    """

    def __init__(
        self,
        parts: Sequence[tuple[Mesh, Dye]],
        colors_V3: np.ndarray,
        joints_J3: np.ndarray,
        paint: Paint | None = None,
    ) -> None:
        """`parts` are meshes with their dyes; `colors_V3` are the colours of all their vertices."""
        mesh = tools.merge([part for part, _ in parts])
        self.faces_F3 = mesh.faces_F3
        self.colors_V3 = colors_V3
        self.dyes_V = np.repeat([dye for _, dye in parts], [len(part) for part, _ in parts])
        self._rest_V3 = mesh.rest_V3
        self._weights_VJ = mesh.weights_VJ
        self._joints_J3 = joints_J3
        corrections = mesh.pose_directions_VP3
        self._pose_directions_PV3 = (
            np.ascontiguousarray(corrections.swapaxes(0, 1)) if corrections.shape[1] else None
        )
        self._without: dict[Unseen, tuple[np.ndarray, np.ndarray, np.ndarray | None]] = {}
        owner_V = np.repeat(np.arange(len(parts)), [len(part) for part, _ in parts])
        self.paint = paint
        # Merged vertices would distort an image.
        self._cells = CELLS_M if paint is None else CELLS_M[:1]
        self._details = tuple(self._detail(cell, owner_V) for cell in self._cells)

    def pose(
        self, rotations_TJ3: np.ndarray, translation_T3: np.ndarray, unseen: Unseen = Unseen.NOTHING
    ) -> np.ndarray:
        """Posed vertices, float32 [T, V, 3], in the frame of the root rotation, metres.

        `unseen` legs end in a point. Memory grows with T (about 0.2 MB a frame), so long videos should be
        posed in parts.
        """
        rest_V3, weights_VJ, directions_PV3 = self._inputs(unseen)
        return skin(rest_V3, weights_VJ, self._joints_J3, rotations_TJ3, translation_T3, directions_PV3)

    def _inputs(self, unseen: Unseen) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Rest vertices, weights and corrections; computed once for each `unseen`."""
        directions_PV3 = self._pose_directions_PV3
        if unseen == Unseen.NOTHING:
            return self._rest_V3, self._weights_VJ, directions_PV3
        if unseen not in self._without:
            rest_V3, weights_VJ, undrawn_V = without(unseen, self._rest_V3, self._weights_VJ, self._joints_J3)
            if directions_PV3 is not None:
                directions_PV3 = np.where(undrawn_V[:, None], np.float32(0), directions_PV3)
            self._without[unseen] = rest_V3, weights_VJ, directions_PV3
        return self._without[unseen]

    def detail(self, metres_per_pixel: float) -> Detail:
        """The coarsest level of detail whose cells are smaller than a pixel."""
        fitting = [k for k, cell in enumerate(self._cells) if cell <= metres_per_pixel]
        return self._details[fitting[-1]]

    def _detail(self, cell: float, owner_V: np.ndarray) -> Detail:
        faces = tools.cluster(self._rest_V3, self.faces_F3, owner_V, cell)
        used, faces = np.unique(faces, return_inverse=True)
        faces = faces.reshape(-1, 3)
        if self.paint is None:
            operator = tools.normal_operator(faces, len(used))
        else:  # seams of the image do not affect the light
            _, vertex_U = np.unique(self.paint.vertex_V[used], return_inverse=True)
            operator = tools.normal_operator(vertex_U[faces], vertex_U.max() + 1)[vertex_U]
        return Detail(
            used=used,
            faces_F3=faces,
            colors_U3=self.colors_V3[used],
            normal_operator=operator,
        )


def dress(body: Body, avatar: Avatar, textures: Path | None = None) -> Figure:
    """The mesh of `avatar` in `body`: shape, clothes, hair and colours. Takes about 0.5 s.

    With a folder of `textures` the avatar wears one of them and nothing else (see `textures.py`).
    """
    betas_S = avatar.betas_S
    if textures is not None:
        return _painted(body, avatar, load_textures(textures, len(body.surface.rest_V3)))
    wearer = Wearer(
        skin=_shaped(body.surface, betas_S, body.pose_directions_PV3),
        joints_J3=body.rest_joints(betas_S),
        garments={
            name: tools.refine(_shaped(surface, betas_S, None))
            if name in REFINED
            else _shaped(surface, betas_S, None)
            for name, surface in body.garments.items()
        },
        eyes=body.eyes,
    )
    outfit = OUTFITS[avatar.outfit]
    dyes = _dyes(avatar)
    # Skin under folded cloth would be visible through it, so it is not drawn.
    bare = tools.select(wearer.skin, ~covered(wearer, outfit)[wearer.skin.faces_F3].all(axis=1))
    pieces: list[tuple[Mesh, Dye]] = [
        (bare, "skin"),
        *outfit_pieces(wearer, outfit),
        *hair_pieces(wearer, avatar.hairstyle),
        *beard_pieces(wearer, avatar.beard),
    ]
    colors = [_complexion(wearer, bare, avatar, dyes)]
    for piece, dye in pieces[1:]:
        shades_V = fabric.variation(piece, strands=dye == "hair")
        colors.append(shades_V[:, None] * np.array(dyes[dye], dtype=np.float32))
    open_V = fabric.openness(tools.merge([piece for piece, _ in pieces]))
    colors_V3 = np.concatenate(colors) * (SHADE + (1 - SHADE) * open_V[:, None])
    return Figure(pieces, colors_V3.clip(0, 1).astype(np.float32), wearer.joints_J3)


def _painted(body: Body, avatar: Avatar, textures: Textures) -> Figure:
    """The bare body with an image."""
    layout = textures.layout
    whole = _shaped(body.surface, avatar.betas_S, body.pose_directions_PV3)
    open_V = fabric.openness(whole)[layout.vertex_C]
    corners = Mesh(
        rest_V3=whole.rest_V3[layout.vertex_C],
        weights_VJ=whole.weights_VJ[layout.vertex_C],
        faces_F3=layout.faces_F3,
        pose_directions_VP3=whole.pose_directions_VP3[layout.vertex_C],
    )
    shades_V3 = np.repeat((SHADE + (1 - SHADE) * open_V)[:, None], 3, axis=1).astype(np.float32)
    paint = Paint(image=textures.pick(avatar.fold), uv_V2=layout.uv_C2, vertex_V=layout.vertex_C)
    return Figure([(corners, "skin")], shades_V3, body.rest_joints(avatar.betas_S), paint)


def _complexion(wearer: Wearer, bare: Mesh, avatar: Avatar, dyes: dict[Dye, Color]) -> np.ndarray:
    """Colours [V, 3] of the visible skin: paint on the face, and small variations elsewhere."""
    colors_V3 = np.tile(np.array(dyes["skin"], dtype=np.float32), (len(bare), 1))
    colors_V3 *= fabric.variation(bare, strands=False)[:, None]
    for dye, share_V in face_paint(wearer, bare, avatar.beard).items():
        colors_V3 += share_V[:, None] * (np.array(dyes[dye], dtype=np.float32) - colors_V3)
    return colors_V3


def _shaped(surface: Surface, betas_S: np.ndarray, pose_directions_PV3: np.ndarray | None) -> Mesh:
    vertices = len(surface.rest_V3)
    return Mesh(
        rest_V3=surface.shaped(betas_S),
        weights_VJ=surface.weights_VJ,
        faces_F3=surface.faces_F3,
        pose_directions_VP3=(
            np.zeros((vertices, 0, 3), dtype=np.float32)
            if pose_directions_PV3 is None
            else pose_directions_PV3.swapaxes(0, 1)
        ),
    )


def _halfway(one: Color, other: Color) -> Color:
    red, green, blue = ((a + b) / 2 for a, b in zip(one, other, strict=True))
    return red, green, blue


def _dyes(avatar: Avatar) -> dict[Dye, Color]:
    red, green, blue = (
        0.68 * skin + 0.32 * lip for skin, lip in zip(avatar.skin, (0.55, 0.18, 0.20), strict=True)
    )
    return {
        "skin": avatar.skin,
        "hair": avatar.hair,
        "top": avatar.top,
        "bottom": avatar.bottom,
        "shoes": avatar.shoes,
        "accent": avatar.accent,
        "white": (0.92, 0.91, 0.89),
        "iris": (0.16, 0.11, 0.08),
        "lips": (red, green, blue),
        "weave": _halfway(avatar.top, avatar.accent),
        "blush": (red, green, blue),
        "stubble": avatar.hair,
        "trim": tuple(0.8 * channel for channel in avatar.top),  # type: ignore[dict-item]
        "sole": (0.80, 0.79, 0.76) if max(avatar.shoes) < 0.6 else (0.30, 0.30, 0.31),
    }
