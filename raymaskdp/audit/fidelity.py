"""Distance of the output's skeleton from the source's, for sources with ground truth.

Shape suffixes: T frames, J = 22 joints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raymaskdp.audit.video_pairs import VideoPair, read_arrays
from raymaskdp.bodies.body import Body
from raymaskdp.bodies.fitting.refine import BODY

NEAR = (0.05, 0.1)
"""PCK thresholds, relative to the person's extent in the image."""


@dataclass(frozen=True, kw_only=True)
class PoseFidelity:
    """Figures over all joints and frames of the videos with ground truth and one person.

    Attributes:
      videos: their number.
      error_share: mean distance of a joint in the image, relative to the person's extent.
      error_px: the same, pixels.
      pck_05, pck_10: share of joints within 5 % and 10 % of the person's extent; 0 to 1.
    """

    videos: int
    error_share: float
    error_px: float
    pck_05: float
    pck_10: float


def measure_pose(cases: Sequence[VideoPair], body: Body) -> PoseFidelity | None:
    """The figures over the cases with ground truth; None if there are none."""
    shares, pixels, videos = [], [], 0
    for case in cases:
        if case.truth is None or not case.alone:
            continue
        arrays = read_arrays(case)
        with np.load(case.truth, allow_pickle=False) as stored:
            true_TJ2 = stored["joints2d"][0, :, :BODY].astype(np.float64)
        motion = arrays["rotations"][0], arrays["translation"][0], arrays["betas"][0]
        flat_TJ3 = body.joints(*motion)[:, :BODY].astype(np.float64) @ arrays["camera"].astype(np.float64).T
        image_TJ2 = flat_TJ3[..., :2] / np.maximum(flat_TJ3[..., 2:], 1e-3)
        seen_T = arrays["visible"][0]
        off_TJ = np.linalg.norm(image_TJ2 - true_TJ2, axis=-1)[seen_T]
        extent_T = (true_TJ2.max(1) - true_TJ2.min(1)).max(-1)[seen_T]
        pixels.append(off_TJ.ravel())
        shares.append((off_TJ / np.maximum(extent_T[:, None], 1.0)).ravel())
        videos += 1
    if not videos:
        return None
    share = np.concatenate(shares)
    return PoseFidelity(
        videos=videos,
        error_share=float(share.mean()),
        error_px=float(np.concatenate(pixels).mean()),
        pck_05=float((share < NEAR[0]).mean()),
        pck_10=float((share < NEAR[1]).mean()),
    )
