"""Kinect skeletons of NTU RGB+D (Shahroudy et al. 2016, Liu et al. 2019): `.skeleton` text files.

A file has the number of frames; for each frame the number of bodies; for each body a line of ten fields
(identity, clipped edges, four of the hands, restricted, lean x and y, tracking state), the number of joints,
25, and a line of twelve numbers for each joint: x, y, z in metres in the Kinect's axes, x and y in the depth
image, x and y in the colour image (1920×1080), a quaternion, and the tracking state (0 not tracked, 1
inferred, 2 tracked). The source is `read_skeleton_file.m` in the data set's repository.

Kinect's images are mirrored: x of a joint and of its pixel grow together, while the names of the joints are
the person's own. In the image as shown, left and right are therefore exchanged.

**Ghosts.** Kinect also detects people in furniture. Of several bodies in a file, a body is a ghost if it
exists for at most 11 frames and less than half of the file, or if it is wider than 0.8 of its height in 70 %
of its frames (limits of most publications on these data), or if it is within 0.2 m of a body that moves more,
for half of its frames. If all are ghosts, the one that moves most is a person. Identities change during an
action. A body that begins where another one ended a moment before is therefore joined to it first.

**Missing.** A file `*missing_skeletons*.txt` in the folder, as published by the data set's authors, lists the
samples whose skeletons are missing or incomplete. These are refused.

Shape suffixes: T frames, L = 25 joints.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from raymaskdp.anonymize.people.sources.lookup import check_length, file_of
from raymaskdp.anonymize.people.sources.skeletons import Skeleton, Skeletons
from raymaskdp.bodies.fitting.landmarks import LandmarkLayout
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.errors import UserError
from raymaskdp.video.reader import VideoInfo

COLOUR_SIZE = (1920, 1080)
FOCAL = 1064.0
"""Pixels of the colour camera, from pairs of colour and space coordinates in published files."""

LAYOUT = LandmarkLayout(
    points=(
        "pelvis", "spine2", "neck", "head_centre",
        "right_shoulder", "right_elbow", "right_wrist", "right_hand",
        "left_shoulder", "left_elbow", "left_wrist", "left_hand",
        "right_hip", "right_knee", "right_ankle", "right_toe",
        "left_hip", "left_knee", "left_ankle", "left_toe",
        "shoulder_centre", "right_hand_tip", "right_thumb_tip", "left_hand_tip", "left_thumb_tip",
    )
)  # fmt: skip
"""Kinect's 25 joints in their order, left and right as in the image."""

CONFIDENCE = (0.05, 0.4, 1.0)
"""Confidence of a joint that is not tracked, inferred, tracked."""

GHOST_FRAMES = 11
GHOST_WIDTH = 0.8
GHOST_SHARE = 0.7
SAME_PLACE = 0.2
REJOINED = 0.6
"""Largest distance in metres between the end of one identity and the beginning of the next of the same
person."""


def read(folder: Path, info: VideoInfo, record: VideoRecord) -> Skeletons:
    """The skeletons of a video; raises `UserError` if they are missing, listed as missing, or damaged."""
    path = file_of(folder, record, ["{name}.skeleton"])
    if path.stem in _missing(folder):
        raise UserError(f"The skeletons of {path.stem} are listed as missing or incomplete.")
    frames, points_TL = _parse(path)
    check_length(frames, info.num_frames, float(info.fps), path)
    gap = max(1, round(0.5 * float(info.fps)))
    bodies = _joined([_stretched(points, info.num_frames) for points in points_TL.values()], gap)
    real, ghosts = _apart(bodies)
    scale = info.width / COLOUR_SIZE[0], info.height / COLOUR_SIZE[1]
    focal = FOCAL * 0.5 * (scale[0] + scale[1])
    camera_33 = np.array([[focal, 0, info.width / 2], [0, focal, info.height / 2], [0, 0, 1]])
    return Skeletons(
        layout=LAYOUT,
        bodies=tuple(_skeleton(points, scale, camera_33) for points in real),
        ghosts=tuple(_skeleton(points, scale, camera_33) for points in ghosts),
        camera_33=camera_33,
    )


def _missing(folder: Path) -> set[str]:
    return {
        line.strip()
        for path in folder.glob("*missing_skeletons*.txt")
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
    }


def _parse(path: Path) -> tuple[int, dict[str, np.ndarray]]:
    """Number of frames, and joints by identity, float64 [T, 25, 6]; NaN in frames without this body.

    For each joint: x, y, z, colour x and y, tracking state.
    """
    try:
        words = path.read_text(encoding="ascii").split()
        at = 1
        num_frames = int(words[0])
        if not 0 <= num_frames < 1_000_000:
            raise ValueError(f"{num_frames} frames")
        bodies: dict[str, np.ndarray] = {}
        for frame in range(num_frames):
            present, at = int(words[at]), at + 1
            for _ in range(present):
                identity, joints, at = words[at], int(words[at + 10]), at + 11
                if joints != len(LAYOUT.points):
                    raise ValueError(f"{joints} joints, not 25")
                rows = np.array(words[at : at + 12 * joints], np.float64)
                if len(rows) < 12 * joints:
                    raise IndexError
                at += 12 * joints
                known = bodies.setdefault(identity, np.full((num_frames, joints, 6), np.nan))
                known[frame] = rows.reshape(joints, 12)[:, [0, 1, 2, 5, 6, 11]]
    except IndexError as error:
        raise UserError(f"The skeletons {path} end early; the file is truncated.") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not a .skeleton file: {' '.join(str(error).split())}.") from error
    return num_frames, bodies


def _stretched(points_TL6: np.ndarray, num_frames: int) -> np.ndarray:
    """The same points for the video's number of frames: cut, or absent at the end."""
    result = np.full((num_frames, *points_TL6.shape[1:]), np.nan)
    kept = min(num_frames, len(points_TL6))
    result[:kept] = points_TL6[:kept]
    return result


def _there(points_TL6: np.ndarray) -> np.ndarray:
    """The frames with this body, bool [T]."""
    return np.asarray(np.isfinite(points_TL6[..., :3]).all((1, 2)))


def _joined(bodies: list[np.ndarray], gap: int) -> list[np.ndarray]:
    """Bodies in order of appearance; several identities of one person are joined."""
    people: list[np.ndarray] = []
    for body in sorted((b for b in bodies if _there(b).any()), key=lambda b: int(_there(b).argmax())):
        begin = int(_there(body).argmax())
        for person in people:
            end = int(np.flatnonzero(_there(person))[-1])
            near = np.linalg.norm(person[end, 0, :3] - body[begin, 0, :3]) < REJOINED
            if end < begin <= end + gap + 1 and near:
                person[begin:] = body[begin:]
                break
        else:
            people.append(body.copy())
    return people


def _apart(bodies: list[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """People and ghosts. The only body of a file is a person, and there is always at least one."""
    if len(bodies) < 2:
        return bodies, []
    order = sorted(range(len(bodies)), key=lambda index: -_motion(bodies[index]))
    ghosts = {index for index in order if _brief(bodies[index]) or _wide(bodies[index]) >= GHOST_SHARE}
    if len(ghosts) == len(bodies):
        ghosts.remove(order[0])
    for place, index in enumerate(order):
        livelier = (other for other in order[:place] if other not in ghosts)
        if any(_together(bodies[index], bodies[other]) >= 0.5 for other in livelier):
            ghosts.add(index)
    people = [body for index, body in enumerate(bodies) if index not in ghosts]
    return people, [bodies[index] for index in sorted(ghosts)]


def _motion(points_TL6: np.ndarray) -> float:
    """Variance of all joints in space over time, summed, square metres."""
    return float(points_TL6[_there(points_TL6), :, :3].var(0).sum())


def _brief(points_TL6: np.ndarray) -> bool:
    """Whether a body exists for a moment only."""
    frames = int(_there(points_TL6).sum())
    return frames <= GHOST_FRAMES and 2 * frames < len(points_TL6)


def _wide(points_TL6: np.ndarray) -> float:
    """Share of the frames in which a body is too wide for its height."""
    points = points_TL6[_there(points_TL6), :, :3]
    extent = points.max(1) - points.min(1)
    return float((extent[:, 0] > GHOST_WIDTH * extent[:, 1]).mean())


def _together(body: np.ndarray, other: np.ndarray) -> float:
    """Share of a body's frames in which its pelvis is at the place of the other's."""
    apart = np.linalg.norm(body[:, 0, :3] - other[:, 0, :3], axis=-1)
    return float((apart < SAME_PLACE).sum() / _there(body).sum())


def _skeleton(points_TL6: np.ndarray, scale: tuple[float, float], camera_33: np.ndarray) -> Skeleton:
    world = points_TL6[..., :3] * (1, -1, 1)  # Kinect's y points up
    pixels = points_TL6[..., 3:5] * scale
    # Joints outside the colour image have no pixel in some files.
    depth = np.where(world[..., 2:] > 0.1, world[..., 2:], np.nan)
    projected = world[..., :2] / depth * camera_33[0, 0] + camera_33[:2, 2]
    there = _there(points_TL6)
    pixels = np.where(np.isfinite(pixels), pixels, projected)
    pixels[there] = np.nan_to_num(pixels[there])
    state = np.nan_to_num(points_TL6[..., 5:]).clip(0, 2).astype(int)
    keypoints = np.concatenate([pixels, np.array(CONFIDENCE)[state]], -1)
    keypoints[~there] = np.nan
    return Skeleton(keypoints_TL3=keypoints, world_TL3=world)
