"""The parts of a sample image: shadows on the floor, the lens, and people in camera coordinates."""

from __future__ import annotations

import cv2
import numpy as np

from raymaskdp.synthetic import rooms

# Shape suffixes: P people in a video, T frames, V vertices, J = 52 joints, H rows, W columns.


def to_camera(turns_T33: np.ndarray, shifts_T3: np.ndarray, points_TV3: np.ndarray) -> np.ndarray:
    seen_TV3 = points_TV3 @ turns_T33.transpose(0, 2, 1).astype(np.float32)
    return np.ascontiguousarray(seen_TV3 + shifts_T3[:, None].astype(np.float32))


def clean_picture(view: rooms.RoomView) -> np.ndarray:
    """The empty room through the lens, uint8 [H, W, 3]."""
    return np.clip(np.rint(through_lens(view.color_HW3)), 0, 255).astype(np.uint8)


def cast_shadow(
    camera: rooms.RoomCamera, lamp: np.ndarray, people: list[np.ndarray], width: int, height: int
) -> np.ndarray:
    """Darkness of the floor [H, W], 0 to 1: the lamp's shadow, and the contact shadow at the feet."""
    shade = np.zeros((height, width), dtype=np.float32)
    for vertices_V3 in people:
        some = vertices_V3[::7].astype(np.float64)
        share = some[:, 1] / (lamp[1] - some[:, 1])
        cast_V3 = some + (some - lamp) * share[:, None]
        for points, size, strength in (
            (cast_V3, 0.016, 0.6),
            (some[some[:, 1] < 0.12] * [1, 0, 1], 0.024, 1.0),
        ):
            if len(points):
                blot = _blot(camera.project(points), size * height, width, height)
                shade = np.maximum(shade, strength * blot)
    return shade


def _blot(pixels: np.ndarray, radius: float, width: int, height: int) -> np.ndarray:
    """A soft spot [H, W] that covers the points, 0 to 1."""
    hit = np.zeros((height, width), dtype=np.float32)
    column, row = np.floor(pixels).astype(int).T
    seen = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    hit[row[seen], column[seen]] = 1
    size = 2 * round(radius) + 1
    full = cv2.dilate(hit, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)))
    return cv2.GaussianBlur(full, (0, 0), 0.9 * radius + 0.3)


def through_lens(picture: np.ndarray) -> np.ndarray:
    """The slight blur of a real lens, which also blends the edges of people into the room."""
    return cv2.GaussianBlur(picture, (0, 0), 0.5)
