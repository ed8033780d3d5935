"""The surface point that every pixel of a crop shows, and its position in another frame.

The meshes are known, so correspondence is computed and not estimated: a pixel is a triangle and three
weights, and the same triangle and weights in another frame are the same piece of cloth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from raymaskdp.bodies.figure import Figure

# Shape suffixes: S rows and columns of a crop, V vertices, F faces, K candidate pairs of a face and a pixel.

NEAR = 0.05
"""Least distance of a face from the camera, in metres."""

SAME_M = 0.03
"""A point is visible in another frame if the surface at its pixel is at most this many metres nearer."""

AT_ONCE = 3_000_000
"""Largest number of pairs of a face and a pixel in one step; 100 bytes each."""


@dataclass(frozen=True, kw_only=True)
class Crop:
    """A square of the frame, `size` pixels wide, resampled to `side` x `side`; it may extend outside the
    frame.

    Attributes:
      left, top: its corner in pixels of the frame.
      size: its width in pixels of the frame.
      side: its width in pixels of its own.
    """

    left: int
    top: int
    size: int
    side: int

    def camera(self, camera_33: np.ndarray) -> np.ndarray:
        """Intrinsics of the crop, from those of the frame."""
        scale = self.side / self.size
        moved_33 = np.array([[scale, 0, -self.left * scale], [0, scale, -self.top * scale], [0, 0, 1]])
        return moved_33 @ camera_33

    def cut(self, frame: np.ndarray) -> np.ndarray:
        """Its pixels of a frame [H, W, ...], as [S, S, ...] of the same type; edges are repeated outside."""
        height, width = frame.shape[:2]
        before = (max(0, -self.top), max(0, -self.left))
        after = (max(0, self.top + self.size - height), max(0, self.left + self.size - width))
        inside = frame[max(0, self.top) : self.top + self.size, max(0, self.left) : self.left + self.size]
        whole = cv2.copyMakeBorder(inside, before[0], after[0], before[1], after[1], cv2.BORDER_REPLICATE)
        shrinks = self.size > self.side
        return cv2.resize(
            whole,
            (self.side, self.side),
            interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
        )

    def within(self, height: int, width: int) -> np.ndarray:
        """Which of its pixels have their centre in a frame of that size, bool [S, S]."""
        middle_S = (np.arange(self.side) + 0.5) * self.size / self.side
        rows_S, columns_S = self.top + middle_S, self.left + middle_S
        within_SS: np.ndarray = ((rows_S >= 0) & (rows_S < height))[:, None] & (
            (columns_S >= 0) & (columns_S < width)
        )
        return within_SS

    def inside(self, height: int, width: int) -> tuple[slice, slice]:
        """Rows and columns of the frame that it covers."""
        rows = slice(max(0, self.top), min(height, self.top + self.size))
        return rows, slice(max(0, self.left), min(width, self.left + self.size))

    def paste(self, crop: np.ndarray, height: int, width: int) -> np.ndarray:
        """An image [S, S, ...] of the crop in the frame's pixels, for the part `inside` the frame."""
        shrinks = self.size < self.side
        whole = cv2.resize(
            crop, (self.size, self.size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        )
        rows, columns = self.inside(height, width)
        return whole[
            rows.start - self.top : rows.stop - self.top, columns.start - self.left : columns.stop - self.left
        ]


def crop_around(mask_HW: np.ndarray, before: Crop | None, side: int) -> Crop:
    """A crop around a mask that is not empty, with a margin; `before` if that still fits."""
    x, y, width, height = cv2.boundingRect(mask_HW.view(np.uint8))
    longest = max(width, height)
    if before is not None:
        fits = (
            before.left <= x
            and before.top <= y
            and x + width <= before.left + before.size
            and y + height <= before.top + before.size
        )
        if fits and longest >= 0.5 * before.size:
            return before
    size = max(16, round(1.4 * longest))
    return Crop(
        left=round(x + width / 2 - size / 2), top=round(y + height / 2 - size / 2), size=size, side=side
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class PlacedMesh:
    """One person's mesh in one frame.

    Attributes:
      person: its number in the video.
      faces_F3: int64, a level of detail of the figure.
      vertices_V3: float32, all vertices of the figure in camera metres.
    """

    person: int
    faces_F3: np.ndarray
    vertices_V3: np.ndarray


def body_of(person: int, figure: Figure, vertices_V3: np.ndarray, focal: float) -> PlacedMesh:
    """A posed figure, at the level of detail that the renderer uses for a focal length in pixels."""
    nearest = max(float(vertices_V3[:, 2].min()), NEAR)
    detail = figure.detail(nearest / focal)
    return PlacedMesh(person=person, faces_F3=detail.used[detail.faces_F3], vertices_V3=vertices_V3)


@dataclass(frozen=True, kw_only=True, eq=False)
class SurfaceMap:
    """The nearest surface at every pixel centre of a crop.

    Attributes:
      person_SS: int16, the person of the surface; -1 for none.
      corners_SS3: int32, the three vertices of its face.
      weights_SS3: float32, of the vertices; they sum to 1.
      depth_SS: float32, metres; infinite for none.
    """

    person_SS: np.ndarray
    corners_SS3: np.ndarray
    weights_SS3: np.ndarray
    depth_SS: np.ndarray

    def points(self, values_V3: np.ndarray, where_SS: np.ndarray) -> np.ndarray:
        """The vertices' values, interpolated at the pixels `where_SS`, float64 [N, 3]."""
        corners_N3, weights_N3 = self.corners_SS3[where_SS], self.weights_SS3[where_SS]
        return np.einsum("nk,nkc->nc", weights_N3.astype(np.float64), values_V3[corners_N3])


def rasterize(bodies: Sequence[PlacedMesh], camera_33: np.ndarray, side: int) -> SurfaceMap:
    """The surfaces visible to a camera with an image of `side` x `side` pixels; perspective is exact."""
    surface = SurfaceMap(
        person_SS=np.full((side, side), -1, np.int16),
        corners_SS3=np.zeros((side, side, 3), np.int32),
        weights_SS3=np.zeros((side, side, 3), np.float32),
        depth_SS=np.full((side, side), np.inf, np.float32),
    )
    for body in bodies:
        pixels_V2, depth_V = project(body.vertices_V3, camera_33)
        faces_F3 = body.faces_F3[(depth_V[body.faces_F3] > NEAR).all(axis=1)]
        corners_F32 = pixels_V2[faces_F3]
        low_F2 = np.maximum(np.ceil(corners_F32.min(axis=1) - 0.5), 0).astype(np.int64)
        high_F2 = np.minimum(np.floor(corners_F32.max(axis=1) - 0.5), side - 1).astype(np.int64)
        spans_F2 = np.maximum(high_F2 - low_F2 + 1, 0)
        counts_F = spans_F2.prod(axis=1)
        some = np.flatnonzero(counts_F)
        pieces = np.cumsum(counts_F[some]) // AT_ONCE
        for piece in np.split(some, np.flatnonzero(np.diff(pieces)) + 1):
            _draw(surface, body.person, faces_F3[piece], corners_F32[piece], depth_V, low_F2[piece],
                  spans_F2[piece])  # fmt: skip
    return surface


def project(points_V3: np.ndarray, camera_33: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [V, 2] and depths [V] of points in camera metres."""
    points_V3 = points_V3.astype(np.float64)
    depth_V = points_V3[:, 2]
    ahead_V = np.maximum(depth_V, 1e-6)[:, None]
    return points_V3[:, :2] / ahead_V * camera_33[[0, 1], [0, 1]] + camera_33[:2, 2], depth_V


def _draw(
    surface: SurfaceMap,
    person: int,
    faces_F3: np.ndarray,
    corners_F32: np.ndarray,
    depth_V: np.ndarray,
    low_F2: np.ndarray,
    spans_F2: np.ndarray,
) -> None:
    """Write the pixels of some faces to `surface` where they are nearer than its present surfaces."""
    if not len(faces_F3):
        return
    counts_F = spans_F2.prod(axis=1)
    face_K = np.repeat(np.arange(len(faces_F3)), counts_F)
    number_K = np.arange(len(face_K)) - np.repeat(np.cumsum(counts_F) - counts_F, counts_F)
    column_K = low_F2[face_K, 0] + number_K % spans_F2[face_K, 0]
    row_K = low_F2[face_K, 1] + number_K // spans_F2[face_K, 0]
    a_F2, b_F2, c_F2 = corners_F32.swapaxes(0, 1)
    area_F = _cross(b_F2 - a_F2, c_F2 - a_F2)
    at_K2 = np.stack([column_K, row_K], axis=1) + 0.5
    with np.errstate(divide="ignore", invalid="ignore"):
        b_K = _cross(at_K2 - a_F2[face_K], (c_F2 - a_F2)[face_K]) / area_F[face_K]
        c_K = _cross((b_F2 - a_F2)[face_K], at_K2 - a_F2[face_K]) / area_F[face_K]
    flat_K3 = np.stack([1 - b_K - c_K, b_K, c_K], axis=1)
    hit_K = (flat_K3 >= -1e-9).all(axis=1)  # false for faces seen from the edge, whose weights are NaN
    face_K, row_K, column_K, flat_K3 = face_K[hit_K], row_K[hit_K], column_K[hit_K], flat_K3[hit_K]
    slopes_K3 = flat_K3 / depth_V[faces_F3[face_K]]  # screen weights differ from surface weights
    depth_K = 1 / slopes_K3.sum(axis=1)
    # Sorted by distance; the first one of each pixel is kept.
    pixel_K = row_K * surface.depth_SS.shape[1] + column_K
    order_K = np.lexsort((depth_K, pixel_K))
    _, first = np.unique(pixel_K[order_K], return_index=True)
    best = order_K[first]
    best = best[depth_K[best] < surface.depth_SS[row_K[best], column_K[best]]]
    at = (row_K[best], column_K[best])
    surface.person_SS[at] = person
    surface.corners_SS3[at] = faces_F3[face_K[best]]
    surface.weights_SS3[at] = slopes_K3[best] * depth_K[best, None]
    surface.depth_SS[at] = depth_K[best]


def _cross(one_N2: np.ndarray, other_N2: np.ndarray) -> np.ndarray:
    return one_N2[:, 0] * other_N2[:, 1] - one_N2[:, 1] * other_N2[:, 0]


@dataclass(frozen=True, kw_only=True, eq=False)
class OpticalFlow:
    """Positions of the pixels of one frame's crop in another's.

    Attributes:
      places_SS2: float32, column and row in pixels of the other crop, pixel centres at +0.5.
      known_SS: bool, whether the same point of the same person is visible in both.
    """

    places_SS2: np.ndarray
    known_SS: np.ndarray

    def warp(self, other_SSC: np.ndarray) -> np.ndarray:
        """The other crop's image float32 [S, S, C], warped to this one; valid where `known_SS`."""
        at = self.places_SS2 - np.float32(0.5)
        return cv2.remap(other_SSC, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def flow(
    surface: SurfaceMap, person: int, other: SurfaceMap, vertices_V3: np.ndarray, camera_33: np.ndarray
) -> OpticalFlow:
    """The exact flow of a person from `surface` back to `other`.

    Args:
      surface, other: of the two frames.
      person: the person.
      vertices_V3: the person's vertices in the other frame, camera metres.
      camera_33: of the other crop.
    """
    side = len(surface.person_SS)
    own_SS = surface.person_SS == person
    places_SS2 = np.zeros((side, side, 2), np.float32)
    known_SS = np.zeros((side, side), bool)
    pixels_N2, depth_N = project(surface.points(vertices_V3, own_SS), camera_33)
    columns_N, rows_N = np.floor(pixels_N2).astype(np.int64).T
    inside_N = (columns_N >= 0) & (rows_N >= 0) & (columns_N < side) & (rows_N < side) & (depth_N > NEAR)
    at = (rows_N.clip(0, side - 1), columns_N.clip(0, side - 1))
    seen_N = (other.person_SS[at] == person) & (depth_N < other.depth_SS[at] + SAME_M)
    places_SS2[own_SS] = pixels_N2
    known_SS[own_SS] = inside_N & seen_N
    return OpticalFlow(places_SS2=places_SS2, known_SS=known_SS)
