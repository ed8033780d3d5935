"""Regions of text in an image, by PP-OCR's detection network.

Du et al. 2020, "PP-OCR: A Practical Ultra Lightweight OCR System"; its method is Liao et al. 2020, "Real-time
Scene Text Detection with Differentiable Binarization". The network gives each pixel a probability of being in
the core of a line of text, which is narrower than the line.

Shape suffixes: H×W pixels of an image, h×w of the network's input, N lines, 4 coordinates (x0, y0, x1, y1).
"""

from __future__ import annotations

import cv2
import numpy as np

from raymaskdp.anonymize.people.networks.onnx_session import bundled, letterboxed

SIDE, STRIDE = 960, 32
"""Longer side of the network's input, and what both sides are multiples of, pixels."""

LEAST_PIXEL, LEAST_LINE = 0.3, 0.5
"""Least probability of a pixel, and least mean of those of a line, as in PP-OCR."""

LEAST_HEIGHT = 3
"""Least height of a line's core in the network's input, pixels."""

WHOLE = 1.6
"""Growth of a core to the line: its area over its perimeter, times this (PP-OCR's unclip ratio)."""

MARGIN = 0.25
"""Margin of a line, as a share of its shorter side, for soft edges and tails."""


class TextDetector:
    """The loaded network."""

    def __init__(self) -> None:
        self._session = bundled("text.onnx")
        self._input = self._session.get_inputs()[0].name

    def __call__(self, image_HW3: np.ndarray) -> np.ndarray:
        """The boxes of all lines of text in an image (uint8 RGB), float64 [N, 4], pixels of the image."""
        picture, scale = letterboxed(image_HW3, SIDE, multiple=STRIDE)
        blob = picture[..., ::-1].astype(np.float32) / 127.5 - 1
        share_hw = self._session.run(None, {self._input: blob.transpose(2, 0, 1)[None]})[0][0, 0]
        height, width = image_HW3.shape[:2]
        return np.clip(_lines(share_hw) / scale, 0, [width, height, width, height])


def _lines(share_hw: np.ndarray) -> np.ndarray:
    """The boxes of the lines in a map of probabilities, float64 [N, 4]."""
    core_hw = (share_hw > LEAST_PIXEL).view(np.uint8)
    count, labels_hw, stats, _ = cv2.connectedComponentsWithStats(core_hw)
    found = []
    for line in range(1, count):
        x, y, w, h = (int(value) for value in stats[line, :4])
        here = np.s_[y : y + h, x : x + w]
        score = float(share_hw[here][labels_hw[here] == line].mean())
        if min(w, h) < LEAST_HEIGHT or score < LEAST_LINE:
            continue
        more = WHOLE * w * h / (2 * (w + h))
        more += MARGIN * (min(w, h) + 2 * more)
        found.append([x - more, y - more, x + w + more, y + h + more])
    return np.array(found, np.float64).reshape(-1, 4)
