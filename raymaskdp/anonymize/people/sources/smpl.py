"""Fitted bodies of other projects: 4D-Humans and PHALP, WHAM, TRAM, GVHMR, and AMASS-style files.

A body's pose is the initial value of the fit. Hands are used unchanged if the file has them; the shape is not
read. The position comes from the file's camera and the joints of SMPL's mean body in that pose. The names are
those of the projects' output files; `NAME` is the video's:

| project | files | camera |
| --- | --- | --- |
| 4D-Humans, PHALP (Goel et al. 2023) | `demo_NAME.pkl`, `NAME.pkl`, joblib | 5000 px on a side of 256 |
| WHAM (Shin et al. 2024) | `NAME/wham_output.pkl`, joblib | the image's diagonal |
| TRAM (Wang et al. 2024) | `NAME/hps/*.npy`, `NAME/camera.npy` | `img_focal`, `img_center` |
| GVHMR (Shen et al. 2024) | `NAME/hmr4d_results.pt`, `NAME.pt` | `K_fullimg` |
| AMASS (Mahmood et al. 2019) | `NAME.npz`, or `NAME/*.npz`, one a person | below |

AMASS-style files have `poses` [N, 156] (SMPL-H), [N, 165] (SMPL-X) or [N, 72] (SMPL), `trans` [N, 3] and
`mocap_framerate`. They have no camera; add it to the same file as `camera` [3, 3], in pixels of the video,
and, if the motion is in world axes, `world_to_camera` [4, 4] (OpenCV's axes).

Shape suffixes: T frames of the video, N frames of a body, J = 52 joints.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from raymaskdp.anonymize.people.sources.lookup import file_of
from raymaskdp.anonymize.people.sources.skeletons import Skeleton, Skeletons
from raymaskdp.anonymize.people.sources.unpickle import load_plain
from raymaskdp.bodies.fitting.landmarks import LandmarkLayout
from raymaskdp.bodies.hands import relaxed_hands
from raymaskdp.bodies.skeleton import BODY_JOINTS, NUM_JOINTS
from raymaskdp.bodies.skinning import joint_transforms
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.errors import UserError
from raymaskdp.video.reader import VideoInfo

LAYOUT = LandmarkLayout(points=BODY_JOINTS)
"""The 22 joints of the body."""

PATTERNS = (
    "{name}.pkl", "demo_{name}.pkl", "{name}/wham_output.pkl", "{name}/hmr4d_results.pt", "{name}.pt",
    "{name}/hps", "{name}.npz", "{name}",
)  # fmt: skip

# Rest position of the pelvis of the mean shape, the origin of `transl` in `smplx`.
SMPL_PELVIS = np.array([-0.002, -0.223, 0.028])
SMPLX_PELVIS = np.array([0.003, -0.351, 0.012])

REST_J3 = np.array(
    [
        (0, 0, 0), (69, -91, -6), (-69, -91, -6), (0, 109, -27), (105, -470, -12), (-105, -470, -12),
        (0, 244, -26), (90, -868, -55), (-90, -868, -55), (0, 297, 0), (116, -920, 66), (-116, -920, 66),
        (0, 511, -43), (80, 417, -37), (-80, 417, -37), (0, 576, 8), (174, 449, -46), (-174, 449, -46),
        (430, 436, -70), (-430, 436, -70), (683, 444, -73), (-683, 444, -73),
    ]
) / 1000  # fmt: skip
"""Joints of SMPL's neutral mean body at rest, relative to the pelvis, metres, left and right averaged.

Joint positions differ between body models: the hips of the embedded one are 75 mm higher and 44 mm further
out.
"""

PHALP_FOCAL = 5000 / 256
"""Focal length of 4D-Humans and PHALP, in sides of the square around the image."""

BODY = len(BODY_JOINTS)

CHUNK = 2048
"""Frames whose joints are computed in one call, because the joint rotations need much more memory than the
joints."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """One body of a file.

    Attributes:
      frames_N: int, frames of the video.
      rotations_NJ3: axis-angle, SMPL-H; row 0 in the camera's frame.
      pelvis_N3: metres, in the camera's frame.
      sure_N: bool, observed and not only predicted.
    """

    frames_N: np.ndarray
    rotations_NJ3: np.ndarray
    pelvis_N3: np.ndarray
    sure_N: np.ndarray


def read(folder: Path, info: VideoInfo, record: VideoRecord) -> Skeletons:
    """The bodies of a video; raises `UserError` if the files are missing, damaged or of another kind."""
    path = file_of(folder, record, PATTERNS)
    try:
        bodies, camera_33 = _bodies(path, info)
        for body in bodies:
            _check(body, info, path)
    except KeyError as error:
        raise UserError(f"{path} has no {error}, so its format is not supported.") from error
    except (ValueError, TypeError, IndexError, AttributeError) as error:
        raise UserError(
            f"{path} has a format that is not supported: {' '.join(str(error).split())}."
        ) from error
    return Skeletons(
        layout=LAYOUT,
        bodies=tuple(_skeleton(body, info, camera_33) for body in bodies if len(body.frames_N)),
        camera_33=camera_33,
    )


def _bodies(path: Path, info: VideoInfo) -> tuple[list[Fitted], np.ndarray]:
    if path.name == "hps":
        return _tram(path, info)
    if path.is_dir():
        files = sorted(path.glob("*.npz"))
        if not files:
            raise ValueError("the folder has no .npz")
        read = [_amass(_arrays(file), info) for file in files]
        return [body for body, _ in read], read[0][1]
    if path.suffix == ".npz":
        body, camera_33 = _amass(_arrays(path), info)
        return [body], camera_33
    if path.suffix == ".pt":
        return _gvhmr(_tensors(path))
    dump = load_plain(path)
    if not isinstance(dump, Mapping) or not all(isinstance(value, Mapping) for value in dump.values()):
        raise ValueError("it is not a dictionary of dictionaries")
    if any("frame_ids" in value for value in dump.values()):
        return _wham(dump, info)
    return _phalp(dump, info)


def _phalp(dump: Mapping[Any, Any], info: VideoInfo) -> tuple[list[Fitted], np.ndarray]:
    """Frames by path in order; in each `tid`, `smpl` (rotation matrices), `camera`, `tracked_time`."""
    camera_33 = _camera(PHALP_FOCAL * max(info.width, info.height), info)
    found: dict[int, list[tuple[int, np.ndarray, np.ndarray, bool]]] = {}
    for index, (_, frame) in enumerate(sorted(dump.items(), key=lambda item: str(item[0]))):
        for person, identity in enumerate(frame["tid"]):
            smpl = frame["smpl"][person]
            turns = np.concatenate(
                [_array(smpl["global_orient"]).reshape(-1, 3, 3), _array(smpl["body_pose"]).reshape(-1, 3, 3)]
            )
            # A person who is not detected in this frame is predicted: `tracked_time` counts up from 0.
            sure = int(np.ravel(frame["tracked_time"][person])[0]) <= 0
            place = _array(frame["camera"][person]).reshape(3)
            found.setdefault(int(identity), []).append((int(frame.get("time", index)), turns, place, sure))
    return [
        Fitted(
            frames_N=np.array([frame for frame, *_ in rows]),
            rotations_NJ3=_from_smpl(_vectors(np.array([turns for _, turns, *_ in rows]))),
            pelvis_N3=SMPL_PELVIS + np.array([place for *_, place, _ in rows]),
            sure_N=np.array([sure for *_, sure in rows]),
        )
        for rows in (sorted(rows, key=lambda row: row[0]) for rows in found.values())
    ], camera_33


def _wham(dump: Mapping[Any, Any], info: VideoInfo) -> tuple[list[Fitted], np.ndarray]:
    """By identity: `pose` [N, 72] and `trans` [N, 3] in the camera's frame, `frame_ids` [N]."""
    bodies = [
        _sure(
            _array(body["frame_ids"]),
            _from_smpl(_array(body["pose"]).reshape(-1, 24, 3)),
            SMPL_PELVIS + _array(body["trans"]).reshape(-1, 3),
        )
        for body in dump.values()
    ]
    return bodies, _camera(float(np.hypot(info.width, info.height)), info)


def _tram(folder: Path, info: VideoInfo) -> tuple[list[Fitted], np.ndarray]:
    """One `.npy` or `.npz` a person: `pred_rotmat` [N, 24, 3, 3], `pred_trans` [N, 1, 3], `frame` [N]."""
    view = load_plain(folder.parent / "camera.npy")
    camera_33 = _camera(float(np.ravel(_array(view["img_focal"]))[0]), info)
    if "img_center" in view:
        camera_33[:2, 2] = np.ravel(_array(view["img_center"]))[:2]
    bodies = []
    for path in sorted([*folder.glob("*.npy"), *folder.glob("*.npz")]):
        body = _arrays(path) if path.suffix == ".npz" else load_plain(path)
        bodies.append(
            _sure(
                _array(body["frame"]),
                _from_smpl(_vectors(_array(body["pred_rotmat"]).reshape(-1, 24, 3, 3))),
                SMPL_PELVIS + _array(body["pred_trans"]).reshape(-1, 3),
            )
        )
    return bodies, camera_33


def _gvhmr(dump: Mapping[str, Any]) -> tuple[list[Fitted], np.ndarray]:
    """`smpl_params_incam` (SMPL-X: `global_orient`, `body_pose` [N, 63], `transl`) and `K_fullimg`."""
    body = dump["smpl_params_incam"]
    turns = np.concatenate([_array(body["global_orient"]), _array(body["body_pose"])], -1)
    rotations = _with_hands(turns.reshape(len(turns), BODY, 3))
    pelvis_N3 = SMPLX_PELVIS + _array(body["transl"]).reshape(-1, 3)
    camera_33 = _array(dump["K_fullimg"]).reshape(-1, 3, 3)[0]
    return [_sure(np.arange(len(turns)), rotations, pelvis_N3)], camera_33


def _amass(body: Mapping[str, np.ndarray], info: VideoInfo) -> tuple[Fitted, np.ndarray]:
    """A motion at its own frame rate, and the camera if the file has one."""
    poses = _array(body["poses"])
    turns = poses.reshape(len(poses), -1, 3)
    pelvis = SMPL_PELVIS
    if turns.shape[1] == 55:  # SMPL-X: jaw and eyes are between body and hands
        turns, pelvis = np.delete(turns, [22, 23, 24], axis=1), SMPLX_PELVIS
    elif turns.shape[1] == 24:
        turns = _from_smpl(turns)
    elif turns.shape[1] != NUM_JOINTS:
        raise ValueError(f"poses of {turns.shape[1]} joints")
    where = pelvis + _array(body["trans"]).reshape(-1, 3)
    if "world_to_camera" in body:
        to_camera_44 = _array(body["world_to_camera"]).reshape(4, 4)
        turn = Rotation.from_matrix(to_camera_44[:3, :3])
        turns = turns.copy()
        turns[:, 0] = (turn * Rotation.from_rotvec(turns[:, 0])).as_rotvec()
        where = where @ to_camera_44[:3, :3].T + to_camera_44[:3, 3]
    rates = (body[key] for key in ("mocap_framerate", "mocap_frame_rate") if key in body)
    rate = next(rates, None)
    nearest = np.arange(info.num_frames)  # without a rate, a pose for each frame
    if rate is not None:  # the frame of the motion that is nearest in time to each frame of the video
        nearest = np.round(info.shown_T * float(rate)).astype(int)
    nearest = nearest[nearest < len(turns)]
    camera_33 = _array(body["camera"]).reshape(3, 3)
    return _sure(np.arange(len(nearest)), turns[nearest], where[nearest]), camera_33


def _sure(frames_N: np.ndarray, rotations_NJ3: np.ndarray, pelvis_N3: np.ndarray) -> Fitted:
    return Fitted(
        frames_N=np.ravel(frames_N).astype(int),
        rotations_NJ3=rotations_NJ3,
        pelvis_N3=pelvis_N3,
        sure_N=np.ones(len(rotations_NJ3), bool),
    )


def _from_smpl(turns_N243: np.ndarray) -> np.ndarray:
    """SMPL's 24 joints as SMPL-H's 52: the body is the same, and the rigid hands become relaxed ones."""
    if turns_N243.shape[1] != 24:
        raise ValueError(f"{turns_N243.shape[1]} joints, not 24")
    return _with_hands(turns_N243[:, :BODY])


def _with_hands(turns_NX3: np.ndarray) -> np.ndarray:
    return np.concatenate([turns_NX3, np.tile(relaxed_hands(), (len(turns_NX3), 1, 1))], axis=1)


def _vectors(matrices: np.ndarray) -> np.ndarray:
    flat = Rotation.from_matrix(matrices.reshape(-1, 3, 3)).as_rotvec()
    return np.asarray(flat.reshape(matrices.shape[:-1]))


def _camera(focal: float, info: VideoInfo) -> np.ndarray:
    return np.array([[focal, 0, info.width / 2], [0, focal, info.height / 2], [0, 0, 1]])


def _array(values: Any) -> np.ndarray:
    """An array or tensor as float64."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().numpy()
    return np.array(values, np.float64)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an npz that are used; others, such as the shape, are not read."""
    wanted = {
        "poses", "trans", "mocap_framerate", "mocap_frame_rate", "camera", "world_to_camera",
        "pred_rotmat", "pred_trans", "frame",
    }  # fmt: skip
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files if name in wanted}
    except (
        OSError,
        ValueError,
        zipfile.BadZipFile,
    ) as error:  # NumPy's message would advise to trust the file
        raise ValueError("it is not an npz of plain arrays") from error


def _tensors(path: Path) -> Any:
    try:
        return torch.load(io.BytesIO(path.read_bytes()), weights_only=True, map_location="cpu")
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError("it is not a torch file of tensors only") from error


def _check(body: Fitted, info: VideoInfo, path: Path) -> None:
    lengths = {len(body.frames_N), len(body.rotations_NJ3), len(body.pelvis_N3)}
    if len(lengths) != 1:
        raise ValueError("its arrays differ in length")
    if not (np.isfinite(body.rotations_NJ3).all() and np.isfinite(body.pelvis_N3).all()):
        raise ValueError("it has numbers that are not finite")
    if (body.pelvis_N3[:, 2] <= 0.1).any():
        raise ValueError("a body is behind the camera; give world_to_camera")
    last = body.frames_N.max(initial=-1)
    if last >= info.num_frames + round(0.1 * float(info.fps)) or (body.frames_N < 0).any():
        raise UserError(
            f"{path} has a body in frame {last}, but the video has {info.num_frames}; "
            "give the file of this very video."
        )


def _skeleton(body: Fitted, info: VideoInfo, camera_33: np.ndarray) -> Skeleton:
    """The joints of SMPL's mean body in that pose, and the pose."""
    rotations = body.rotations_NJ3.astype(np.float32)
    shape = (info.num_frames, BODY, 3)
    keypoints, world = (np.full(shape, np.nan, np.float32) for _ in range(2))
    all_rotations = np.zeros((info.num_frames, NUM_JOINTS, 3), np.float32)
    rest_J3 = np.concatenate([REST_J3, np.zeros((NUM_JOINTS - BODY, 3))])  # fingers are not used
    inside = np.flatnonzero(body.frames_N < info.num_frames)
    for some in np.array_split(inside, max(1, -(-len(inside) // CHUNK))):
        at = body.frames_N[some]
        joints = joint_transforms(rest_J3, rotations[some])[0][:, :BODY] + body.pelvis_N3[some, None]
        image = joints @ camera_33.T
        keypoints[at, :, :2] = image[..., :2] / np.maximum(image[..., 2:], 0.05)
        keypoints[at, :, 2] = np.where(body.sure_N[some], 1.0, 0.3)[:, None]
        world[at] = joints
        all_rotations[at] = rotations[some]
    return Skeleton(keypoints_TL3=keypoints, world_TL3=world, rotations_TJ3=all_rotations)
