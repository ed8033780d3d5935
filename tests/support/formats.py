"""The truth of sample videos written down as the data sets and projects do that raymaskdp reads."""

import json
import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from raymaskdp.bodies.body import load_body
from raymaskdp.bodies.fitting.landmarks import LandmarkLayout, landmarks_of
from raymaskdp.bodies.skinning import joint_transforms
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.video.reader import VideoInfo

# Names that Kinect gives the joints of a person whom its mirrored picture shows with these points.
KINECT = (
    "pelvis", "spine2", "neck", "head_centre",
    "right_shoulder", "right_elbow", "right_wrist", "right_hand",
    "left_shoulder", "left_elbow", "left_wrist", "left_hand",
    "right_hip", "right_knee", "right_ankle", "right_toe", "left_hip", "left_knee", "left_ankle", "left_toe",
    "shoulder_centre", "right_hand_tip", "right_thumb_tip", "left_hand_tip", "left_thumb_tip",
)  # fmt: skip
LCRNET = (
    "right_ankle", "left_ankle", "right_knee", "left_knee", "right_hip", "left_hip",
    "right_wrist", "left_wrist", "right_elbow", "left_elbow", "right_shoulder", "left_shoulder",
    "head_centre",
)  # fmt: skip

SMPL_PELVIS = np.array([-0.0018, -0.2233, 0.0282])  # of the neutral bodies, as their users print them
SMPLX_PELVIS = np.array([0.0031, -0.3514, 0.0120])
SMPL_HIPS = np.array([0, -0.091, -0.006])  # the middle between them, from the pelvis


class Truth:
    """What is known of a sample video."""

    def __init__(self, path: Path) -> None:
        with np.load(path) as stored:
            self.rotations = stored["rotations"]  # [P, T, 52, 3]
            self.pelvis = stored["joints3d"][:, :, 0].astype(np.float64)
            self.joints = stored["joints3d"].astype(np.float64)
            self.camera = stored["camera"]
            self.betas = stored["betas"]
            self.width, self.height = int(stored["width"]), int(stored["height"])
            self.fps = float(stored["fps"])

    @property
    def people(self) -> range:
        return range(len(self.rotations))

    @property
    def frames(self) -> range:
        return range(self.rotations.shape[1])

    def points(self, names: tuple[str, ...], person: int, focal: float | None = None) -> np.ndarray:
        """Points in the camera's frame [T, L, 3], moved along the line of sight for another focal length."""
        body, betas = load_body(), self.betas[person]
        where = landmarks_of(body, betas, LandmarkLayout(points=names))
        joints, transforms = joint_transforms(body.rest_joints(betas), self.rotations[person])
        turned = transforms[:, where.joint_L, :3, :3]
        points = joints[:, where.joint_L] + np.einsum("tlij,lj->tli", turned, where.offset_L3)
        return points - joints[:, :1] + self.placed(person, focal)[:, None]

    def placed(self, person: int, focal: float | None = None) -> np.ndarray:
        """The pelvis [T, 3] where a camera of another focal length would have it."""
        scale = 1.0 if focal is None else focal / self.camera[0, 0]
        return self.pelvis[person] * (1, 1, scale)

    def smpl_pelvis(self, person: int, focal: float | None = None) -> np.ndarray:
        """Where a body of SMPL's has its pelvis whose hips are where the truth's are."""
        root = Rotation.from_rotvec(self.rotations[person][:, 0])
        rest = load_body().rest_joints(self.betas[person])
        between_hips = rest[1:3].mean(0) - rest[0] - SMPL_HIPS
        return self.placed(person, focal) + root.apply(between_hips)

    def pixels(self, points: np.ndarray, focal: float | None = None) -> np.ndarray:
        """Where a camera sees points, pixels."""
        f = self.camera[0, 0] if focal is None else focal
        return points[..., :2] / points[..., 2:] * f + (self.width / 2, self.height / 2)


@dataclass(frozen=True)
class Film:
    """A sample video of two people and what is known of it."""

    record: VideoRecord
    info: VideoInfo
    truth: Truth
    path: Path

    @property
    def name(self) -> str:
        """The video's, without its suffix."""
        return Path(self.record.path).stem


def write_ntu(path: Path, truth: Truth, identities: dict[int, dict[int, int]] | None = None) -> None:
    """A `.skeleton` file; `identities` may give a person other names from some frame on."""
    focal = 1064 * truth.width / 1920
    points = [truth.points(KINECT, person, focal) for person in truth.people]
    lines = [str(len(truth.frames))]
    for frame in truth.frames:
        lines.append(str(len(truth.people)))
        for person in truth.people:
            changes = (identities or {}).get(person, {})
            name = 72057594037931101 + person
            for begin, other in changes.items():
                name = other if frame >= begin else name
            lines += [f"{name} 0 1 1 1 1 0 0.02764709 0.05745083 2", "25"]
            colour = truth.pixels(points[person][frame], focal) * 1920 / truth.width
            for (x, y, z), (u, v) in zip(points[person][frame], colour, strict=True):
                lines.append(f"{x:.7g} {-y:.7g} {z:.7g} 277.4 191.8 {u:.7g} {v:.7g} -0.2 0.05 0.97 -0.1 2")
    path.write_text("\n".join(lines) + "\n")


def lcrnet(pixels: np.ndarray, points: np.ndarray, truth: Truth) -> dict:
    """One body of one frame as LCR-Net writes it: coordinates in order of the axis, x left and y up."""
    scale = np.array([640 / truth.width, 480 / truth.height])
    return {
        "pose2d": (pixels * scale).T.ravel().tolist(),
        "pose3d": ((points - points.mean(0)) * (-1, -1, 1)).T.ravel().tolist(),
        "cumscore": 0.9,
    }


def write_frames(path: Path, frames: list[list[dict]]) -> None:
    """A JSON file of Smarthome."""
    path.write_text(json.dumps({"K": 20, "njts": 13, "frames": frames}))


def write_smarthome(path: Path, truth: Truth) -> None:
    """The truth as Smarthome has it; bodies in another order in every frame."""
    points = [truth.points(LCRNET, person) for person in truth.people]
    write_frames(
        path,
        [
            [
                lcrnet(truth.pixels(points[person][frame]), points[person][frame], truth)
                for person in np.roll(truth.people, frame)
            ]
            for frame in truth.frames
        ],
    )


def matrices(truth: Truth, person: int) -> np.ndarray:
    """SMPL's 24 rotations as matrices, [T, 24, 3, 3]."""
    turns = np.concatenate([truth.rotations[person][:, :22], np.zeros((len(truth.frames), 2, 3))], 1)
    return Rotation.from_rotvec(turns.reshape(-1, 3)).as_matrix().reshape(-1, 24, 3, 3).astype(np.float32)


def phalp(truth: Truth) -> dict:
    """What `PHALP` and `4D-Humans` dump: a dictionary of frames."""
    focal = 5000 / 256 * max(truth.width, truth.height)
    turns = [matrices(truth, person) for person in truth.people]
    where = [truth.smpl_pelvis(person, focal) - SMPL_PELVIS for person in truth.people]
    return {
        f"outputs/_DEMO/video/img/{frame + 1:06d}.jpg": {
            "time": frame,
            "shot": 0,
            "tid": [person + 1 for person in truth.people],
            "tracked_time": [0 for _ in truth.people],
            "bbox": [np.zeros(4) for _ in truth.people],
            "camera": [where[person][frame].astype(np.float32) for person in truth.people],
            "smpl": [
                {
                    "global_orient": turns[person][frame, :1],
                    "body_pose": turns[person][frame, 1:],
                    "betas": np.full(10, 99, np.float32),
                }
                for person in truth.people
            ],
        }
        for frame in truth.frames
    }


def wham(truth: Truth) -> dict:
    """What WHAM's demo dumps: a dictionary of people."""
    focal = float(np.hypot(truth.width, truth.height))
    turns = np.concatenate([truth.rotations[:, :, :22], np.zeros((*truth.rotations.shape[:2], 2, 3))], 2)
    return {
        person: {
            "pose": turns[person].reshape(-1, 72),
            "trans": truth.smpl_pelvis(person, focal) - SMPL_PELVIS,
            "betas": np.full((len(truth.frames), 10), 99.0),
            "frame_ids": np.array(truth.frames),
        }
        for person in truth.people
    }


def write_tram(folder: Path, truth: Truth) -> None:
    """`hps/hps_track_*.npy` with tensors in them, and `camera.npy`."""
    (folder / "hps").mkdir(parents=True)
    camera = {
        "img_focal": np.array([truth.camera[0, 0]]),
        "img_center": np.array([truth.width / 2, truth.height / 2]),
    }
    np.save(folder / "camera.npy", camera, allow_pickle=True)
    for person in truth.people:
        dump = {
            "pred_rotmat": torch.from_numpy(matrices(truth, person)),
            "pred_trans": torch.from_numpy(truth.smpl_pelvis(person) - SMPL_PELVIS)[:, None],
            "pred_shape": torch.full((len(truth.frames), 10), 99.0),
            "frame": torch.arange(len(truth.frames)),
        }
        np.save(folder / "hps" / f"hps_track_{person}.npy", dump, allow_pickle=True)


def write_gvhmr(path: Path, truth: Truth) -> None:
    """`hmr4d_results.pt` of one person."""
    rotations = torch.from_numpy(truth.rotations[0])
    body = {
        "global_orient": rotations[:, 0],
        "body_pose": rotations[:, 1:22].flatten(1),
        "betas": torch.full((len(truth.frames), 10), 99.0),
        "transl": torch.from_numpy(truth.smpl_pelvis(0) - SMPLX_PELVIS),
    }
    intrinsics = torch.from_numpy(truth.camera).expand(len(truth.frames), 3, 3).clone()
    torch.save({"smpl_params_incam": body, "K_fullimg": intrinsics, "net_outputs": {}}, path)


def write_amass(path: Path, truth: Truth, person: int = 0, *, rate: int = 1) -> None:
    """An npz of SMPL-H with hands, in a world of its own, `rate` times as many frames as the video."""
    turn = Rotation.from_euler("xyz", [1.2, 0.4, -0.3])  # world to camera
    shift = np.array([0.3, -0.2, 1.0])
    rotations = truth.rotations[person].astype(np.float64).copy()
    rotations[:, 0] = (turn.inv() * Rotation.from_rotvec(rotations[:, 0])).as_rotvec()
    pelvis = (truth.smpl_pelvis(person) - shift) @ turn.as_matrix()
    to_camera = np.eye(4)
    to_camera[:3, :3], to_camera[:3, 3] = turn.as_matrix(), shift
    np.savez(
        path,
        poses=np.repeat(rotations.reshape(len(rotations), -1), rate, axis=0),
        trans=np.repeat(pelvis - SMPL_PELVIS, rate, axis=0),
        betas=np.full(16, 99.0),
        gender="neutral",
        mocap_framerate=rate * truth.fps,
        camera=truth.camera,
        world_to_camera=to_camera,
    )


def write_pickle(path: Path, dump: dict) -> None:
    """A plain pickle."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(dump))
