"""Bundled ONNX networks, run by onnxruntime: on a GPU if onnxruntime supports it, else in one CPU thread."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from raymaskdp.errors import UserError

WEIGHTS = Path(__file__).parent / "weights"

DIGESTS = {
    "nanodet.onnx": "6199bcc791e5f4818ec68e52a982eecd1e36ba561f09ab9c6768761f741b1081",
    "movenet_multipose.onnx": "e7749c9bb7dd47836b2b92ab24bf9fdf5345d1d5e4417d47be2da626d4859f70",
    "ssd_people.onnx": "1fbfc9b67bb1e1ab04a0576ceef3569816d107f1b83263a163dc73cdfc152af4",
    "palms.onnx": "6c66ba765498c0da18614f847d84630803db11277aafc3b51da5cfde8631d46a",
    "hand.onnx": "0e18db3f4b444385e2797d71ceffddc6e89b783e176e00ed43256ee9131ce522",
    "text.onnx": "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
    "blazepose_full.onnx": "4908b9ed790356186e104116dd67739b5a706b9d9f4335462b05479b2653903c",
}
"""SHA-256 of each bundled file. `weights/NOTICE` names their authors; `weights/make_weights.py` makes them.
"""


def bundled(name: str) -> Any:
    """An inference session of a bundled network; raises `UserError` if the file is damaged."""
    content = (WEIGHTS / name).read_bytes()
    if hashlib.sha256(content).hexdigest() != DIGESTS[name]:
        raise UserError(f"The bundled network {WEIGHTS / name} is damaged; install raymaskdp again.")
    return session(content)


def session(content: bytes) -> Any:
    """An inference session of an ONNX model: CUDA if onnxruntime was built with it, else one CPU thread.

    Workers share the cores of a machine, so a session uses one thread, as all code in a worker does.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
    available = onnxruntime.get_available_providers()
    return onnxruntime.InferenceSession(
        content, options, providers=[provider for provider in wanted if provider in available]
    )


def letterboxed(image_HW3: np.ndarray, side: int, *, multiple: int | None = None) -> tuple[np.ndarray, float]:
    """An image scaled to a longer side of `side` pixels, padded with black; and the scale.

    Args:
      multiple: the sides of the result are rounded up to a multiple of it; None for a square.
    """
    height, width = image_HW3.shape[:2]
    scale = side / max(height, width)
    h, w = max(1, round(height * scale)), max(1, round(width * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    rows, columns = (side, side) if multiple is None else (-(-n // multiple) * multiple for n in (h, w))
    picture = np.zeros((rows, columns, 3), np.uint8)
    picture[:h, :w] = cv2.resize(image_HW3, (w, h), interpolation=how)
    return picture, scale
