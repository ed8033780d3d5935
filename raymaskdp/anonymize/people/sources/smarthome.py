"""Skeletons of Toyota Smarthome (Das et al. 2019): JSON files of LCR-Net++ (Rogez et al. 2019).

`{"njts": 13, "frames": [[{"pose2d": […], "pose3d": […], "cumscore": …}, …], …]}`: for each frame the detected
bodies, without identities. Coordinates are ordered by axis: `pose2d` is x of all 13 joints and then y, in
pixels of the 640×480 video; `pose3d` is x, y, z in metres. Its x and y point left and up (half a turn about
the line of sight). Files in which they point right and down are supported as well.

Shape suffixes: T frames, L = 13 joints, N bodies of a frame.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from raymaskdp.anonymize.people.sources.lookup import check_length, file_of, linked
from raymaskdp.anonymize.people.sources.skeletons import Skeleton, Skeletons
from raymaskdp.bodies.fitting.landmarks import LandmarkLayout
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.errors import UserError
from raymaskdp.video.reader import VideoInfo

VIDEO_SIZE = (640, 480)

LAYOUT = LandmarkLayout(
    points=(
        "right_ankle", "left_ankle", "right_knee", "left_knee", "right_hip", "left_hip",
        "right_wrist", "left_wrist", "right_elbow", "left_elbow", "right_shoulder", "left_shoulder",
        "head_centre",
    )
)  # fmt: skip
"""LCR-Net's 13 joints in their order."""

LEAST_SECONDS = 0.2
"""Bodies with a shorter total time are false detections of the network; their regions are checked all the
same."""


def read(folder: Path, info: VideoInfo, record: VideoRecord) -> Skeletons:
    """The skeletons of a video; raises `UserError` if they are missing or damaged."""
    path = file_of(folder, record, ["{name}.json", "{name}_pose3d.json"])
    frames = _parse(path)
    check_length(len(frames), info.num_frames, float(info.fps), path)
    frames = (frames + [np.zeros((0, len(LAYOUT.points), 5))] * info.num_frames)[: info.num_frames]
    scale = np.array([info.width / VIDEO_SIZE[0], info.height / VIDEO_SIZE[1]])
    gap = max(1, round(0.5 * float(info.fps)))
    tracks = linked([bodies[..., :2] for bodies in frames], gap)
    bodies = [(len(track), _skeleton(track, frames, scale)) for track in tracks]
    least = min(LEAST_SECONDS * float(info.fps), 0.5 * info.num_frames)
    return Skeletons(
        layout=LAYOUT,
        bodies=tuple(body for seen, body in bodies if seen >= least),
        ghosts=tuple(body for seen, body in bodies if seen < least),
    )


def _parse(path: Path) -> list[np.ndarray]:
    """The bodies of each frame, float64 [N, 13, 5]: x and y in the image, x, y, z in space."""
    try:
        stored: Any = json.loads(path.read_text(encoding="utf-8"))
        num_joints = int(stored.get("njts", len(LAYOUT.points)))
        if num_joints != len(LAYOUT.points):
            raise ValueError(f"it has {num_joints} joints, not 13")
        frames = [np.array([_points(body) for body in bodies]) for bodies in stored["frames"]]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        why = f"{error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise UserError(f"{path} is not a file of Smarthome skeletons: {why}.") from error
    return [bodies.reshape(-1, len(LAYOUT.points), 5) for bodies in frames]


def _points(body: dict[str, list[float]]) -> np.ndarray:
    joints = len(LAYOUT.points)
    picture = np.array(body["pose2d"], np.float64).reshape(2, joints)
    space = np.array(body["pose3d"], np.float64).reshape(3, joints)
    if not (np.isfinite(picture).all() and np.isfinite(space).all()):
        raise ValueError("it has coordinates that are not finite")
    return np.concatenate([picture, space]).T


def _skeleton(track: dict[int, int], frames: list[np.ndarray], scale: np.ndarray) -> Skeleton:
    keypoints = np.full((len(frames), len(LAYOUT.points), 3), np.nan)
    world = np.full((len(frames), len(LAYOUT.points), 3), np.nan)
    for frame, row in track.items():
        points = frames[frame][row]
        keypoints[frame, :, :2] = points[:, :2] * scale
        keypoints[frame, :, 2] = 1.0
        space, picture = points[:, 2:], points[:, :2]
        about = (space - space.mean(0))[:, :2] * (picture - picture.mean(0))
        world[frame] = space * ((-1, -1, 1) if about.sum() < 0 else (1, 1, 1))
    return Skeleton(keypoints_TL3=keypoints, world_TL3=world)
