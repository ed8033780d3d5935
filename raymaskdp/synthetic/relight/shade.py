"""Occlusion of light by furniture and by a body."""

from __future__ import annotations

import cv2
import numpy as np

from raymaskdp.synthetic import rooms

# Shape suffixes: T frames, V vertices, H rows and W columns, N points, K sample points of light sources.

SKIN_M, THICK_M = 0.06, 0.03
"""Least difference in depth at which the body shades a point: of its own skin, and of the room."""


def past_boxes(room: rooms.Room, points_N3: np.ndarray, places_K3: np.ndarray) -> np.ndarray:
    """Whether the furniture leaves the paths from K sample points to N points free, float32 [K, N]."""
    reached_KN = np.ones((len(places_K3), len(points_N3)), np.float32)
    thick = [box for box in room.boxes if float(np.min(box.high - box.low)) > 0.025]
    points_3N = np.ascontiguousarray(points_N3.T, np.float32)
    for reached_N, place_3 in zip(reached_KN, places_K3.astype(np.float32), strict=True):
        with np.errstate(divide="ignore"):
            inverse_3N = 1 / (place_3[:, None] - points_3N)
        for box in thick:
            if ((place_3 > box.low) & (place_3 < box.high)).all():
                continue
            ends = [(end.astype(np.float32)[:, None] - points_3N) * inverse_3N for end in (box.low, box.high)]
            first, second = np.minimum(*ends), np.maximum(*ends)
            enter_N = np.maximum(np.maximum(first[0], first[1]), first[2]).clip(0)
            leave_N = np.minimum(np.minimum(second[0], second[1]), second[2])
            reached_N[(enter_N < 1) & (leave_N - enter_N > 1e-3)] = 0
    return reached_KN


def past_body(
    vertices_V3: np.ndarray, places_K3: np.ndarray, clouds: tuple[np.ndarray, ...], *, side: int
) -> list[np.ndarray]:
    """Whether the person leaves the paths from sample points to points free, float32 [K, N] for each cloud of
    points.

    The depth map of each sample point is that of the vertices, spread over neighbouring pixels; the person is
    `side` pixels wide.
    """
    made = [np.ones((len(places_K3), len(points_N3)), np.float32) for points_N3 in clouds]
    clouds = tuple(points_N3.astype(np.float32) for points_N3 in clouds)
    for number, place_3 in enumerate(places_K3):
        turn_33 = _toward(place_3, middle_of(vertices_V3))
        place_3 = place_3.astype(np.float32)
        seen_V3 = (vertices_V3 - place_3) @ turn_33
        flat_V2 = seen_V3[:, :2] / np.maximum(seen_V3[:, 2:], 0.05)
        low_2, high_2 = flat_V2.min(axis=0), flat_V2.max(axis=0)
        scale = (side - 4) / (high_2 - low_2).max()
        pixel_V2 = ((flat_V2 - low_2) * scale).astype(np.int32) + 2
        depth_N = np.full(side * side, np.inf, np.float32)
        far_first = np.argsort(-seen_V3[:, 2])  # so that the nearest is written last
        depth_N[(pixel_V2[:, 1] * side + pixel_V2[:, 0])[far_first]] = seen_V3[far_first, 2]
        depth = cv2.erode(depth_N.reshape(side, side), np.ones((3, 3), np.uint8))
        for points_N3, reached_KN in zip(clouds, made, strict=True):
            there_N3 = (points_N3 - place_3) @ turn_33
            at_N2 = (there_N3[:, :2] / np.maximum(there_N3[:, 2:], 0.05) - low_2) * scale
            pixel_N2 = at_N2.clip(-9, side + 9).astype(np.int32) + 2
            inside_N = ((pixel_N2 >= 0) & (pixel_N2 < side)).all(axis=1) & (there_N3[:, 2] > 0.05)
            column_N, row_N = pixel_N2[inside_N].T
            reached_KN[number, inside_N] = depth[row_N, column_N] > there_N3[inside_N, 2] - THICK_M
    return made


def _toward(place_3: np.ndarray, target_3: np.ndarray) -> np.ndarray:
    """Axes, as columns, of a view from a place to a target."""
    forward_3 = (target_3 - place_3) / np.linalg.norm(target_3 - place_3)
    right_3 = np.cross(forward_3, [0.0, 1.0, 0.0] if abs(forward_3[1]) < 0.99 else [1.0, 0.0, 0.0])
    right_3 /= np.linalg.norm(right_3)
    return np.stack([right_3, np.cross(forward_3, right_3), forward_3], axis=1).astype(np.float32)


def middle_of(vertices_V3: np.ndarray) -> np.ndarray:
    middle_3: np.ndarray = (vertices_V3.max(axis=0) + vertices_V3.min(axis=0)) / 2
    return middle_3


def directions_around(count: int) -> np.ndarray:
    """Directions [K, 3], evenly distributed on the sphere (a Fibonacci lattice), y up."""
    at_K = np.arange(count) + 0.5
    up_K = 1 - 2 * at_K / count
    turn_K = np.pi * (1 + 5**0.5) * at_K
    beside_K = np.sqrt(1 - up_K**2)
    return np.stack([beside_K * np.cos(turn_K), up_K, beside_K * np.sin(turn_K)], axis=1)
