"""Identification by the skeleton: limb lengths must be independent of the person; the way of moving stays and
is measured.

The output's skeleton is the one that `anonymize` publishes in `ID.npz`. The source's is its ground truth if
the video was synthesized (the strongest possible attacker), and otherwise the pose network's result for the
source.

Shape suffixes: T frames, V videos, P = 12 points, D features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raymaskdp.anonymize.people.networks.mediapipe import CropView, PoseNetworks
from raymaskdp.audit.video_pairs import VideoPair, read_arrays
from raymaskdp.bodies.body import Body
from raymaskdp.bodies.skeleton import JOINT
from raymaskdp.errors import UserError
from raymaskdp.video import masks, reader

POINTS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
SMPL_P = [JOINT[f"{side}_{name}"] for name in POINTS for side in ("left", "right")]
MEDIAPIPE_P = [11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28]
# Pairs of the points above, and triples with the angle in the middle.
LIMBS = ((0, 2), (1, 3), (2, 4), (3, 5), (6, 8), (7, 9), (8, 10), (9, 11), (6, 7))
ANGLES = ((0, 2, 4), (1, 3, 5), (2, 0, 6), (3, 1, 7), (0, 6, 8), (1, 7, 9), (6, 8, 10), (7, 9, 11))
BANDS_HZ = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0)
MOST_FRAMES = 64
LEAST_FRAMES = 4
LEAST_OF_ACTION = 6
"""Least number of videos of an action whose mean represents the action and not a person."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MovingSkeleton:
    """One person's points over time, float64 [T, 12, 3] metres, at `fps` frames a second."""

    points_TP3: np.ndarray
    fps: float

    def limbs(self) -> np.ndarray:
        """Lengths of arms, legs and hips, the median over time, [9] metres. Bones alone: spines bend."""
        first, second = (self.points_TP3[:, [limb[end] for limb in LIMBS]] for end in (0, 1))
        return np.asarray(np.median(np.linalg.norm(first - second, axis=-1), axis=0))

    def angles(self) -> np.ndarray:
        """Angles at elbows, shoulders, hips and knees, radians [T, 8]: free of lengths and of the camera."""
        a, b, c = (self.points_TP3[:, [angle[end] for angle in ANGLES]] for end in (0, 1, 2))
        one, other = a - b, c - b
        cosine = (one * other).sum(-1) / np.maximum(
            np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1), 1e-9
        )
        return np.asarray(np.arccos(np.clip(cosine, -1, 1)))

    def left_over_right(self) -> float:
        """How much further the left hand and foot move than the right ones, −1 to 1."""
        way_P = np.linalg.norm(
            np.diff(self.points_TP3 - self.points_TP3[:, 6:8].mean(1, keepdims=True), axis=0), axis=-1
        ).sum(0)
        left, right = way_P[[4, 10]].sum(), way_P[[5, 11]].sum()
        return float((left - right) / max(left + right, 1e-9))

    def gait(self) -> np.ndarray:
        """Mean, speed and frequencies of the angles, and their side; [D]."""
        angles_TA = self.angles()
        speed_TA = np.abs(np.diff(angles_TA, axis=0)) * self.fps
        moving_TA = angles_TA - angles_TA.mean(0)
        power_FA = np.abs(np.fft.rfft(moving_TA * np.hanning(len(moving_TA))[:, None], axis=0))
        frequencies_F = np.fft.rfftfreq(len(moving_TA), 1 / self.fps)
        bands = [np.interp(BANDS_HZ, frequencies_F, power_F) for power_F in power_FA.T]
        levels = np.quantile(angles_TA, [0.1, 0.5, 0.9], axis=0)
        speed_A = speed_TA.mean(0)
        left_A, right_A = speed_A[::2], speed_A[1::2]
        sided_A = (left_A - right_A) / np.maximum(left_A + right_A, 1e-9)
        return np.concatenate([levels.ravel(), speed_A, sided_A, np.log1p(bands).ravel()])


def output_skeleton(case: VideoPair, body: Body) -> MovingSkeleton | None:
    """The published skeleton of a case with one person; None if it is rarely visible."""
    arrays = read_arrays(case)
    seen_T = arrays["visible"][0]
    if np.count_nonzero(seen_T) < LEAST_FRAMES:
        return None
    joints = body.joints(arrays["rotations"][0][seen_T], arrays["translation"][0][seen_T], arrays["betas"][0])
    return MovingSkeleton(points_TP3=joints[:, SMPL_P].astype(np.float64), fps=float(arrays["fps"]))


def outline(case: VideoPair) -> np.ndarray:
    """Logarithms of the published mask's height, width and extent in metres, the median over time, [3]."""
    arrays = read_arrays(case)
    masks_THW = masks.unpack(arrays["person_masks"], int(arrays["height"]), int(arrays["width"]))
    metres_T = arrays["translation"][0][:, 2] / arrays["camera"][1, 1]
    sizes = []
    for mask_HW, metres in zip(masks_THW, metres_T, strict=True):
        if mask_HW.any() and metres > 0:
            rows, columns = np.count_nonzero(mask_HW.any(1)), np.count_nonzero(mask_HW.any(0))
            area = np.sqrt(np.count_nonzero(mask_HW))
            sizes.append(np.log(np.array([rows, columns, area]) * metres))
    return np.asarray(np.median(sizes, axis=0)) if sizes else np.zeros(3)


def shape(case: VideoPair) -> np.ndarray | None:
    """The body of the person in a synthesized source, ten coefficients; None if unknown."""
    if case.truth is None:
        return None
    with np.load(case.truth, allow_pickle=False) as stored:
        return np.asarray(stored["betas"][0]) if "betas" in stored.files else None


def source_skeleton(case: VideoPair, networks: PoseNetworks) -> MovingSkeleton | None:
    """The skeleton of the person in the source of a case; None if it is rarely visible."""
    if case.truth is None:
        return _seen(case, networks)
    try:
        with np.load(case.truth, allow_pickle=False) as stored:
            joints = stored["joints3d"][0][:, SMPL_P]
            return MovingSkeleton(points_TP3=joints.astype(np.float64), fps=float(stored["fps"]))
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{case.truth} is not ground truth of a video: {error}.") from error


def _seen(case: VideoPair, networks: PoseNetworks) -> MovingSkeleton | None:
    length = min(case.row.num_frames, MOST_FRAMES)
    points = []
    for frame_HW3 in reader.read_frames(case.source, np.arange(length)):
        height, width = frame_HW3.shape[:2]
        bodies = networks.bodies(CropView.of(frame_HW3, (0, 0, width, height)))
        if bodies:
            best = max(bodies, key=lambda body: body.score)
            points.append(best.world_33x3[MEDIAPIPE_P].astype(np.float64))
    if len(points) < LEAST_FRAMES:
        return None
    return MovingSkeleton(points_TP3=np.stack(points), fps=case.row.fps)


def standardized(features_VD: np.ndarray, actions_V: np.ndarray) -> np.ndarray:
    """Features minus their mean over the videos of the same action, in standard deviations.

    Two sources of skeletons differ, and the action outweighs the person; the attacker knows both.
    """
    centred_VD = features_VD - features_VD.mean(0)
    for action in np.unique(actions_V):
        same_V = actions_V == action
        if np.count_nonzero(same_V) >= LEAST_OF_ACTION:
            centred_VD[same_V] -= centred_VD[same_V].mean(0)
    spread_D = centred_VD.std(0)
    return np.asarray(centred_VD / np.where(spread_D > 1e-6, spread_D, 1.0))
