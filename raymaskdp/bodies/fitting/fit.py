"""Fit an avatar's SMPL-H body to the landmarks of a person: the same pose, never the same shape.

    motions = FitBodies(FitConfig())(people, info, avatars)

The steps: `lift` corrects the bias of MediaPipe's landmarks; landmarks are smoothed; a skeleton in the axes
of a crop is rotated into the camera's by PnP (some 6 to 14 degrees); limb directions become rotations
analytically; the avatar is placed at the depth at which its own limbs are as long as in the image; a batched
refinement follows. Of the person, only directions and image positions are used.

Shape suffixes: T frames of the video, N fitted frames, J = 52 joints, L points of a layout.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch

from raymaskdp.bodies.avatar import Avatar
from raymaskdp.bodies.body import Body, load_body
from raymaskdp.bodies.fitting.config import FitConfig
from raymaskdp.bodies.fitting.gaps import BRIDGED_S, bridge, runs
from raymaskdp.bodies.fitting.hidden_limbs import cut_off_legs, straighten_hidden_limbs
from raymaskdp.bodies.fitting.implausible_turns import flips, spinning
from raymaskdp.bodies.fitting.kinematics import inverse_kinematics, matrices, vectors
from raymaskdp.bodies.fitting.landmarks import LIMB_POINTS, MEDIAPIPE, LandmarkLayout, Landmarks, landmarks_of
from raymaskdp.bodies.fitting.lift import LIFTED, correction_size, lift
from raymaskdp.bodies.fitting.refine import BODY, forward, refine
from raymaskdp.bodies.fitting.smooth import one_euro
from raymaskdp.bodies.motion import Motion
from raymaskdp.bodies.skeleton import NUM_JOINTS, PARENTS
from raymaskdp.bodies.skinning import joint_transforms

SEGMENT = 1800
"""Frames that are fitted in one call. A long run is fitted in segments, so that memory does not grow with it.
"""

MOST_MOVED = 0.08
"""A correction that moves visible points by more than this share of a person's extent is wrong, because the
pose is unlike those of the training, such as sitting in profile. It moves rendered people by 0.02 and most
real ones by 0.04."""

OUTSIDE, GUESSED = 0.03, 0.02
"""Points outside the frame by more than the first, as a share of its longer side, have their confidence
multiplied by the second."""

OVERLAP_S = 2.0
"""Overlap of a segment with its neighbours on either side, in seconds, which prevents a visible seam."""


class FittedTrack(Protocol):
    """The inputs of a fit about one person (`anonymize.people.Person` documents them)."""

    @property
    def track_id(self) -> int: ...
    @property
    def visible_T(self) -> np.ndarray: ...
    @property
    def keypoints_TL3(self) -> np.ndarray: ...
    @property
    def world_TL3(self) -> np.ndarray: ...
    @property
    def rotations_TJ3(self) -> np.ndarray | None: ...
    @property
    def cut_off_T(self) -> np.ndarray: ...


class Tracks(Protocol):
    """The inputs of a fit about a video's people (`anonymize.people.People` documents them)."""

    @property
    def persons(self) -> Sequence[FittedTrack]: ...
    @property
    def layout(self) -> LandmarkLayout: ...
    @property
    def camera_33(self) -> np.ndarray | None: ...


class Frames(Protocol):
    """The inputs of a fit about a video (`video.reader.VideoInfo` documents them)."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def fps(self) -> Fraction | float: ...


class FitBodies:
    """The fit stage: `People` and one avatar for each person in, one `Motion` for each person out.

    A person is fitted in frames in which the shoulders or most of the torso are visible, the reprojection
    error is small, and the torso rotates no faster than people do (`implausible_turns`). In other frames
    `visible_T` of the motion is false, and the person is drawn as a silhouette. Points outside the frame are
    guesses of the network and have a small weight.

    Args:
      body_path: an SMPL-H file; None for the embedded body.
    """

    def __init__(self, config: FitConfig, body_path: Path | None = None) -> None:
        self.config = config
        self._body_path = body_path

    def __call__(self, people: Tracks, info: Frames, avatars: Sequence[Avatar]) -> list[Motion]:
        """The avatars' motions, in the order of `people.persons`."""
        body = load_body(self._body_path)
        camera_33 = people.camera_33
        if camera_33 is None:
            camera_33 = guess_camera(info.width, info.height, self.config.field_of_view)
        return [
            self._fit(body, person, people.layout, avatar, camera_33, info)
            for person, avatar in zip(people.persons, avatars, strict=True)
        ]

    def _fit(
        self,
        body: Body,
        person: FittedTrack,
        layout: LandmarkLayout,
        avatar: Avatar,
        camera_33: np.ndarray,
        info: Frames,
    ) -> Motion:
        num_frames = len(person.visible_T)
        rotations_TJ3 = np.zeros((num_frames, NUM_JOINTS, 3), np.float32)
        translation_T3 = np.tile(np.array([0, 0, 5], np.float32), (num_frames, 1))
        fitted_T = person.visible_T & _enough_in_view(person, layout, info)
        rest_J3 = body.rest_joints(avatar.betas_S).astype(np.float64)
        fps = float(info.fps)
        overlap = max(1, round(OVERLAP_S * fps))
        for seen, kept in (pair for run in runs(fitted_T) for pair in _segments(run, overlap)):
            keypoints, world, lifted = self._points(person, seen, layout, camera_33, info)
            landmarks = landmarks_of(body, avatar.betas_S, LIFTED if lifted else layout)
            common: dict[str, Any] = {
                "rest_J3": rest_J3,
                "landmarks": landmarks,
                "camera_33": camera_33,
                "fps": fps,
            }
            if person.rotations_TJ3 is not None:
                turns = person.rotations_TJ3[seen].astype(np.float64)
                rotations, pelvis = follow_run(turns, keypoints, world, config=self.config, **common)
            else:
                rotations, pelvis = fit_run(keypoints, world, config=self.config, **common)
            off = reprojection_error(
                rotations, pelvis, keypoints, rest_J3=rest_J3, landmarks=landmarks, camera_33=camera_33
            )
            inner = slice(kept.start - seen.start, kept.stop - seen.start)
            rotations_TJ3[kept] = rotations[inner]
            translation_T3[kept] = pelvis[inner] - rest_J3[0]
            fitted_T[kept] &= off[inner] <= self.config.max_misfit
        if person.rotations_TJ3 is None:
            fitted_T &= ~flips(rotations_TJ3, fitted_T, fps)
        bridged_T = bridge(rotations_TJ3, translation_T3, fitted_T, person.visible_T, round(BRIDGED_S * fps))
        if person.rotations_TJ3 is None:
            bridged_T &= ~spinning(rotations_TJ3, bridged_T, fps)
        return Motion(
            rotations_TJ3=rotations_TJ3,
            translation_T3=translation_T3,
            visible_T=bridged_T,
            betas_S=avatar.betas_S,
            camera_33=camera_33,
            track_id=person.track_id,
        )

    def _points(
        self,
        person: FittedTrack,
        seen: slice,
        layout: LandmarkLayout,
        camera_33: np.ndarray,
        info: Frames,
    ) -> tuple[np.ndarray, np.ndarray, bool]:
        """Landmarks of some frames in the image and in space, [N, L, 3], and whether `lift` corrected them.

        Those of hidden limbs are straightened, and points outside the frame have a small confidence.
        """
        keypoints = person.keypoints_TL3[seen].astype(np.float64)
        world = person.world_TL3[seen].astype(np.float64)
        inside, lifted = _in_view(keypoints, info, OUTSIDE), False
        below = ~inside & (keypoints[..., 1] > info.height)
        below |= cut_off_legs(person.cut_off_T[seen], keypoints[..., 2], layout)
        inside &= ~below
        if self.config.lift and layout == MEDIAPIPE:
            image, points = lift(keypoints, world, camera_33, float(info.fps), inside_NL=inside)
            lifted = correction_size(image, keypoints, inside) <= MOST_MOVED
            keypoints, world = (image, points) if lifted else (keypoints, world)
        if layout == MEDIAPIPE:
            world = straighten_hidden_limbs(world, below, layout)
        keypoints[..., 2] *= np.where(inside, 1.0, GUESSED)
        return keypoints, world, lifted


def fit_run(
    keypoints_NL3: np.ndarray,
    world_NL3: np.ndarray,
    *,
    rest_J3: np.ndarray,
    landmarks: Landmarks,
    camera_33: np.ndarray,
    fps: float,
    config: FitConfig,
) -> tuple[np.ndarray, np.ndarray]:
    """Axis-angle rotations [N, 52, 3] and pelvis positions [N, 3] of an uninterrupted run of frames."""
    scale = np.median(keypoints_NL3[:, :, :2].max(1) - keypoints_NL3[:, :, :2].min(1))
    keypoints = keypoints_NL3.copy()
    keypoints[..., :2] = scale * one_euro(keypoints[..., :2] / scale, fps, cutoff=config.smoothing)
    # Only directions are used: the person's own size is divided out first.
    size = np.sqrt(np.mean((world_NL3 - world_NL3.mean(1, keepdims=True)) ** 2))
    world = one_euro(0.4 * world_NL3 / size, fps, cutoff=config.smoothing)
    points = to_camera(world, keypoints, camera_33, landmarks.layout)
    local = inverse_kinematics(points, landmarks, rest_J3)
    pelvis = place(local, keypoints, rest_J3=rest_J3, landmarks=landmarks, camera_33=camera_33)
    pelvis[:, 2] = np.exp(one_euro(np.log(pelvis[:, 2]), fps, cutoff=1.0))
    refined, pelvis = refine(
        local,
        pelvis,
        rest_J3=rest_J3,
        landmarks=landmarks,
        keypoints_TL3=keypoints,
        points_TL3=points,
        focal=float(camera_33[0, 0]),
        centre=(float(camera_33[0, 2]), float(camera_33[1, 2])),
        fps=fps,
        config=config.refine,
    )
    local[:, :BODY] = refined
    return vectors(local), pelvis


def follow_run(
    rotations_NJ3: np.ndarray,
    keypoints_NL3: np.ndarray,
    world_NL3: np.ndarray,
    *,
    rest_J3: np.ndarray,
    landmarks: Landmarks,
    camera_33: np.ndarray,
    fps: float,
    config: FitConfig,
) -> tuple[np.ndarray, np.ndarray]:
    """Rotations [N, 52, 3] near the given ones, and pelvis positions [N, 3].

    The given rotations belong to a body with other joint positions than the avatar's. Hips are therefore
    rotated by some degrees, so that feet and hands keep their places. There is no contact term, because feet
    stand still in the file.
    """
    local = matrices(rotations_NJ3)
    pelvis = place(local, keypoints_NL3, rest_J3=rest_J3, landmarks=landmarks, camera_33=camera_33)
    depth = np.exp(one_euro(np.log(pelvis[:, 2:]), fps, cutoff=1.0))
    pelvis *= depth / pelvis[:, 2:]  # moved along the line of sight only
    local[:, :BODY], pelvis = refine(
        local,
        pelvis,
        rest_J3=rest_J3,
        landmarks=landmarks,
        keypoints_TL3=keypoints_NL3,
        points_TL3=world_NL3,
        focal=float(camera_33[0, 0]),
        centre=(float(camera_33[0, 2]), float(camera_33[1, 2])),
        fps=fps,
        config=replace(config.refine, contact=0.0),
    )
    return vectors(local), pelvis


def reprojection_error(
    rotations_NJ3: np.ndarray,
    pelvis_N3: np.ndarray,
    keypoints_NL3: np.ndarray,
    *,
    rest_J3: np.ndarray,
    landmarks: Landmarks,
    camera_33: np.ndarray,
) -> np.ndarray:
    """Mean distance of a posed body's points from the person's in the image, as a share of the person's
    extent, [N].
    """
    joints, transforms = joint_transforms(rest_J3, rotations_NJ3)
    turned = transforms[:, landmarks.joint_L, :3, :3]
    points = joints[:, landmarks.joint_L] + np.einsum("nlij,lj->nli", turned, landmarks.offset_L3)
    points = points + (pelvis_N3 - rest_J3[0])[:, None]
    image = points[..., :2] / np.maximum(points[..., 2:], 0.05) * camera_33[0, 0] + camera_33[:2, 2]
    off = np.linalg.norm(image - keypoints_NL3[..., :2], axis=-1)
    weight = keypoints_NL3[..., 2] * landmarks.trust_L + 1e-6
    extent = np.ptp(keypoints_NL3[..., :2], axis=1).max(-1)
    return np.asarray((off * weight).sum(-1) / weight.sum(-1) / np.maximum(extent, 1e-6))


def guess_camera(width: int, height: int, field_of_view: float) -> np.ndarray:
    """Intrinsics [3, 3] of a pinhole camera with this angle of view (degrees) over the image's diagonal."""
    focal = 0.5 * float(np.hypot(width, height)) / float(np.tan(np.radians(field_of_view) / 2))
    return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])


def to_camera(
    world_NL3: np.ndarray, keypoints_NL3: np.ndarray, camera_33: np.ndarray, layout: LandmarkLayout
) -> np.ndarray:
    """World landmarks [N, L, 3] in the camera's axes: rotated by PnP if they have those of a crop."""
    if layout.in_camera:
        return world_NL3
    result = np.empty_like(world_NL3)
    steady = layout.rows([*LIMB_POINTS, *(p for p in ("nose", "left_ear", "right_ear") if layout.has(p))])
    turn: Any = np.zeros(0)
    move: Any = np.zeros(0)
    for index, (world, keypoints) in enumerate(zip(world_NL3, keypoints_NL3, strict=True)):
        use = [i for i in steady if keypoints[i, 2] > 0.3]
        if len(use) < 8:
            use = [i for i in steady if keypoints[i, 2] > GUESSED]
        if len(use) < 8:  # a head and shoulders are not enough to estimate the rotation
            result[index] = world
            turn = np.zeros(0)
            continue
        if not turn.size:
            _, turn, move = cv2.solvePnP(
                world[use], keypoints[use, :2], camera_33, None, flags=cv2.SOLVEPNP_SQPNP
            )
        # Initialized with the previous frame, so that the two-fold ambiguity does not flip between frames.
        _, turn, move = cv2.solvePnP(
            world[use], keypoints[use, :2], camera_33, None, turn.copy(), move.copy(), True,
            cv2.SOLVEPNP_ITERATIVE,
        )  # fmt: skip
        tilt = float(np.linalg.norm(turn))
        if tilt > 0.6 or move[2, 0] <= 0:  # implausible for a crop: keep the network's axes
            result[index] = world
            turn = np.zeros(0)
            continue
        result[index] = world @ matrices(turn[:, 0]).T + move[:, 0]
    return result


def place(
    local_NJ33: np.ndarray,
    keypoints_NL3: np.ndarray,
    *,
    rest_J3: np.ndarray,
    landmarks: Landmarks,
    camera_33: np.ndarray,
) -> np.ndarray:
    """Pelvis positions [N, 3] at which a posed skeleton projects best onto the keypoints (linear)."""
    bones = torch.from_numpy(rest_J3[1:BODY] - rest_J3[PARENTS[1:BODY]]).float()
    zero = torch.zeros(len(local_NJ33), 3)
    joints, turned = forward(torch.from_numpy(local_NJ33[:, :BODY]).float(), zero, bones)
    offset = torch.from_numpy(landmarks.offset_L3).float()[..., None]
    points = (joints[:, landmarks.joint_L] + (turned[:, landmarks.joint_L] @ offset)[..., 0]).double().numpy()
    ray = (keypoints_NL3[..., :2] - camera_33[:2, 2]) / camera_33[0, 0]
    weight = np.sqrt(keypoints_NL3[..., 2] * landmarks.trust_L)[..., None]
    # x + tx = (z + tz)·u for every landmark, and likewise y: linear in the translation.
    design = np.zeros((*points.shape[:2], 2, 3))
    design[..., 0, 0] = design[..., 1, 1] = 1
    design[..., 2] = -ray
    value = ray * points[..., 2:] - points[..., :2]
    design = (design * weight[..., None]).reshape(len(points), -1, 3)
    value = (value * weight).reshape(len(points), -1, 1)
    transposed = np.swapaxes(design, -1, -2)
    solved = np.linalg.solve(transposed @ design + 1e-9 * np.eye(3), transposed @ value)[..., 0]
    solved[:, 2] = np.maximum(solved[:, 2], 0.3)
    return np.asarray(solved)


def _enough_in_view(person: FittedTrack, layout: LandmarkLayout, info: Frames) -> np.ndarray:
    """Frames in which three of shoulders and hips, or both shoulders, are visible enough to place a body,
    bool [T].
    """
    torso = layout.rows(["left_shoulder", "right_shoulder", "left_hip", "right_hip"])
    inside = _in_view(np.nan_to_num(person.keypoints_TL3[:, torso], nan=-1e6), info, 0.1)
    return np.asarray((inside.sum(-1) >= 3) | inside[:, :2].all(-1))


def _in_view(keypoints_NL3: np.ndarray, info: Frames, margin: float) -> np.ndarray:
    """Points inside the frame, or outside by less than `margin` of its longer side, bool [N, L]."""
    size, reach = np.array([info.width, info.height]), margin * max(info.width, info.height)
    points = keypoints_NL3[..., :2]
    return np.asarray(((points > -reach) & (points < size + reach)).all(-1))


def _segments(run: slice, overlap: int) -> Iterator[tuple[slice, slice]]:
    """A run in parts of about `SEGMENT` frames: the frames of the input, and those of them to keep."""
    parts = max(1, round((run.stop - run.start) / SEGMENT))
    cuts = np.linspace(run.start, run.stop, parts + 1).round().astype(int).tolist()
    for begin, end in itertools.pairwise(cuts):
        yield slice(max(run.start, begin - overlap), min(run.stop, end + overlap)), slice(begin, end)
