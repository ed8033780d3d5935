"""Strips of frames, as images for an HTML file."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from raymaskdp.places import LocalPath
from raymaskdp.video import reader

GAP_PX = 4


def frame_indices(num_frames: int, count: int) -> list[int]:
    """Up to `count` frame numbers, evenly spaced over a video of `num_frames`, including first and last."""
    return sorted({round(i) for i in np.linspace(0, num_frames - 1, min(count, num_frames))})


def strip(path: LocalPath, frames: Sequence[int], *, height: int = 132) -> np.ndarray:
    """Some frames of a video side by side, uint8 RGB [height, W, 3], on white."""
    return beside(reader.read_frames(path, list(frames)), height=height)


def beside(frames: Iterable[np.ndarray], *, height: int) -> np.ndarray:
    """Images side by side, uint8 RGB [height, W, 3], on white."""
    pieces: list[np.ndarray] = []
    for frame in frames:
        width = max(1, round(frame.shape[1] * height / frame.shape[0]))
        pieces += [
            cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA),
            np.full((height, GAP_PX, 3), 255, np.uint8),
        ]
    return np.concatenate(pieces[:-1], axis=1)


def jpeg_uri(image: np.ndarray, *, quality: int = 85) -> str:
    """A `data:` URI of an RGB image, uint8 [H, W, 3]."""
    encoded, data = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    if not encoded:
        raise RuntimeError(f"OpenCV could not encode a picture of shape {image.shape}")
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")
