"""Accuracy of detection, tracking and fitting against exact ground truth, that of synthesized videos.

Shape suffixes: P people of the truth, T frames, J = 52 joints, B bytes of a packed mask, M motions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from raymaskdp.anonymize.people.people import People
from raymaskdp.bodies.body import Body
from raymaskdp.bodies.fitting.refine import BODY
from raymaskdp.bodies.motion import Motion
from raymaskdp.errors import UserError
from raymaskdp.places import LocalPath

NEAR = 0.25
"""Largest mean distance of the joints, as a share of the person's height, at which a track matches a person.
"""


@dataclass(frozen=True, kw_only=True)
class TruthMetrics:
    """Figures of one video; all lengths are means over the frames in which a person is matched.

    Attributes:
      person_recall: share of the truth's (person, frame) pairs that a track matches.
      identity_switches: how often a person's track changes.
      false_tracks: tracks that never match a person.
      joint_error_mm: distance of the 22 body joints after the pelvises are aligned, on the person's own body,
        so that it measures the pose and not the avatar's shape.
      joint_error_px, joint_error_share: distance of the avatar's own joints in the image, in pixels and as a
        share of the person's height.
      jitter_px: mean acceleration of the avatar's joints in the image relative to the truth's, pixels per
        frame squared.
      mask_recall: share of the truth's person pixels that the masks cover; `worst` is the lowest of any
        frame.
      mask_iou: intersection over union of the outlines with the truth's masks; of the dilated masks if the
        source has no outlines.
    """

    person_recall: float
    identity_switches: int
    false_tracks: int
    joint_error_mm: float
    joint_error_px: float
    joint_error_share: float
    jitter_px: float
    mask_recall: float
    mask_recall_worst: float
    mask_iou: float


def score(people: People, motions: Sequence[Motion], truth: LocalPath, body: Body) -> TruthMetrics:
    """Compare the people found in a video with its ground-truth file.

    Args:
      truth: npz with `joints2d` [P, T, 52, 2] px, `joints3d` [P, T, 52, 3] m in the camera frame, `betas` [P,
        10], `masks` uint8 [T, B].
      body: the body of the truth and of the motions.

    Raises `UserError` if the file is missing, not a ground-truth file, or of a video of another length or
    size.
    """
    try:
        with np.load(truth, allow_pickle=False) as stored:
            truth_PTJ2 = stored["joints2d"][:, :, :BODY].astype(np.float64)
            truth_PTJ3 = stored["joints3d"][:, :, :BODY].astype(np.float64)
            betas_PS, masks_TB = stored["betas"], stored["masks"]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{truth} is not a ground-truth file: {' '.join(str(error).split())}.") from error
    if truth_PTJ2.shape[1] != people.num_frames or masks_TB.shape != people.union_TB().shape:
        raise UserError(f"The ground truth {truth} is of a video of another length or size.")
    size = np.array([people.width, people.height])
    present_PT = ((truth_PTJ2 > 0) & (truth_PTJ2 < size)).all(-1).mean(-1) > 0.5
    image_MTJ2 = np.array([project(motion, body) for motion in motions]).reshape(
        -1, people.num_frames, BODY, 2
    )
    match_PT = _match(truth_PTJ2, image_MTJ2, present_PT, motions)
    errors_mm, errors_px, errors_share, jitter = [], [], [], []
    for person, match_T in enumerate(match_PT):
        for index, motion in enumerate(motions):
            frames = np.flatnonzero(match_T == index)
            if not len(frames):
                continue
            posed = body.joints(motion.rotations_TJ3[frames], motion.translation_T3[frames], betas_PS[person])
            posed = posed[:, :BODY] - posed[:, :1]
            true = truth_PTJ3[person, frames] - truth_PTJ3[person, frames, :1]
            errors_mm.append(1000 * np.linalg.norm(posed - true, axis=-1).mean(-1))
            off = np.linalg.norm(image_MTJ2[index, frames] - truth_PTJ2[person, frames], axis=-1).mean(-1)
            errors_px.append(off)
            errors_share.append(off / _extent(truth_PTJ2[person, frames]))
            whole = np.flatnonzero(
                (match_T[2:] == index) & (match_T[1:-1] == index) & (match_T[:-2] == index)
            )
            offset = image_MTJ2[index] - truth_PTJ2[person]
            bend = offset[whole + 2] - 2 * offset[whole + 1] + offset[whole]
            jitter.append(np.linalg.norm(bend, axis=-1).mean(-1))
    found_TB = np.asarray(people.union_TB())
    truth_T = np.array([int(np.bitwise_count(m).sum()) for m in masks_TB])
    both_T = np.array([int(np.bitwise_count(m).sum()) for m in masks_TB & found_TB])
    outline_TB = people.outline_TB()
    iou = _iou(masks_TB, found_TB if outline_TB is None else np.asarray(outline_TB))
    shown = truth_T > 0
    return TruthMetrics(
        person_recall=float((match_PT >= 0)[present_PT].mean()) if present_PT.any() else 1.0,
        identity_switches=sum(_switches(match_T) for match_T in match_PT),
        false_tracks=len(set(range(len(motions))) - set(match_PT.ravel().tolist())),
        joint_error_mm=_mean(errors_mm),
        joint_error_px=_mean(errors_px),
        joint_error_share=_mean(errors_share),
        jitter_px=_mean(jitter),
        mask_recall=float(both_T.sum() / max(1, truth_T.sum())),
        mask_recall_worst=float((both_T[shown] / truth_T[shown]).min()) if shown.any() else 1.0,
        mask_iou=iou,
    )


def project(motion: Motion, body: Body) -> np.ndarray:
    """The 22 body joints of a motion in the image, float64 [T, 22, 2] pixels; NaN where not drawn."""
    joints = body.joints(motion.rotations_TJ3, motion.translation_T3, motion.betas_S)[:, :BODY]
    homogeneous = joints.astype(np.float64) @ motion.camera_33.T
    image = homogeneous[..., :2] / np.maximum(homogeneous[..., 2:], 1e-3)
    image[~motion.visible_T] = np.nan
    return np.asarray(image)


def _match(
    truth_PTJ2: np.ndarray, image_MTJ2: np.ndarray, present_PT: np.ndarray, motions: Sequence[Motion]
) -> np.ndarray:
    """Index of the motion that matches each person, int [P, T]; -1 for none."""
    match_PT = np.full(present_PT.shape, -1)
    if not len(motions):
        return match_PT
    apart_PMT = np.linalg.norm(truth_PTJ2[:, None] - image_MTJ2[None], axis=-1).mean(-1)
    apart_PMT /= _extent(truth_PTJ2)[:, None]
    apart_PMT = np.where(np.isnan(apart_PMT), np.inf, apart_PMT)
    for frame in range(present_PT.shape[1]):
        cost = np.minimum(apart_PMT[:, :, frame], 1e3)
        for person, index in zip(*linear_sum_assignment(cost), strict=True):
            if present_PT[person, frame] and cost[person, index] < NEAR:
                match_PT[person, frame] = index
    return match_PT


def _extent(joints: np.ndarray) -> np.ndarray:
    """Extent of joints [..., J, 2] in the image, pixels [...]; about a person's height."""
    return np.asarray(np.maximum((joints.max(-2) - joints.min(-2)).max(-1), 1.0))


def _switches(match_T: np.ndarray) -> int:
    known = match_T[match_T >= 0]
    return int((known[1:] != known[:-1]).sum())


def _iou(first_TB: np.ndarray, second_TB: np.ndarray) -> float:
    """Intersection over union of packed masks over all frames; 1 if both are empty."""
    both, either = (
        int(np.bitwise_count(bits).sum()) for bits in (first_TB & second_TB, first_TB | second_TB)
    )
    return both / either if either else 1.0


def _mean(parts: list[np.ndarray]) -> float:
    values = np.concatenate(parts) if parts else np.zeros(0)
    return float(values.mean()) if len(values) else 0.0
