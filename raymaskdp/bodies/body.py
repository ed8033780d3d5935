"""An SMPL-H body: shape coefficients and poses in, vertices and joints out."""

from __future__ import annotations

import functools
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from raymaskdp.bodies.build import GARMENTS, ensure_body
from raymaskdp.bodies.skeleton import NUM_JOINTS, PARENTS
from raymaskdp.bodies.skinning import joint_transforms, skin
from raymaskdp.errors import UserError

# Shape suffixes: T frames, V vertices, F faces, J = 52 joints, S shape coefficients.

_KEYS = (
    "v_template", "f", "J_regressor", "kintree_table", "weights", "shapedirs", "posedirs",
    "hands_meanl", "hands_meanr", "hands_componentsl", "hands_componentsr",
)  # fmt: skip

NUM_BETAS = 10
"""Number of shape coefficients that are used."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Surface:
    """A mesh that moves with the skeleton, in the rest pose.

    Attributes:
      rest_V3: float32 [V, 3], before any shape; metres, y up, facing +z.
      shape_directions_V3S: float32 [V, 3, S].
      weights_VJ: float32 [V, 52], rows sum to 1.
      faces_F3: int64 [F, 3].
    """

    rest_V3: np.ndarray
    shape_directions_V3S: np.ndarray
    weights_VJ: np.ndarray
    faces_F3: np.ndarray

    def shaped(self, betas_S: np.ndarray) -> np.ndarray:
        """Rest vertices [V, 3] of a shape."""
        return self.rest_V3 + self.shape_directions_V3S @ betas_S.astype(np.float32)


class Body:
    """An SMPL-H model with flat hands on the CPU, batched over frames.

    Attributes:
      surface: its skin.
      pose_directions_PV3: float32 [459, V, 3] pose corrections, or None if the file has only zeros.
      garments: clothes and hair by name ("tights", "skirt", "hair"); empty for licensed files.
      eyes: vertices of the eyeballs; empty for licensed files, in which they are part of the skin.
    """

    def __init__(
        self, arrays: Mapping[str, np.ndarray], garments: Mapping[str, Surface], eyes: np.ndarray
    ) -> None:
        self.surface = Surface(
            rest_V3=_float32(arrays["v_template"]),
            shape_directions_V3S=_float32(arrays["shapedirs"][..., :NUM_BETAS]),
            weights_VJ=_float32(arrays["weights"]),
            faces_F3=np.asarray(arrays["f"], dtype=np.int64),
        )
        self._regressor_JV = _float32(arrays["J_regressor"])
        directions_V3P = arrays["posedirs"]
        self.pose_directions_PV3 = (
            _float32(np.moveaxis(directions_V3P, -1, 0)) if np.any(directions_V3P) else None
        )
        self.garments = dict(garments)
        self.eyes = eyes

    @property
    def num_betas(self) -> int:
        """Number of shape coefficients, 10."""
        return self.surface.shape_directions_V3S.shape[-1]

    @property
    def faces_F3(self) -> np.ndarray:
        """Triangles of the skin, int64 [F, 3]."""
        return self.surface.faces_F3

    @property
    def parents_J(self) -> np.ndarray:
        """Parents of the joints, int64 [52]; -1 for the pelvis."""
        return PARENTS

    def rest_joints(self, betas_S: np.ndarray) -> np.ndarray:
        """Joints, float32 [52, 3], of a shape in the rest pose, in the body's own frame (y up), metres."""
        return self._regressor_JV @ self.surface.shaped(betas_S)

    def joints(
        self, rotations_TJ3: np.ndarray, translation_T3: np.ndarray, betas_S: np.ndarray
    ) -> np.ndarray:
        """Posed joints, float32 [T, 52, 3], in the frame of the root rotation, metres."""
        posed_TJ3, _ = joint_transforms(self.rest_joints(betas_S), rotations_TJ3)
        return posed_TJ3 + translation_T3[:, None].astype(np.float32)

    def vertices(
        self, rotations_TJ3: np.ndarray, translation_T3: np.ndarray, betas_S: np.ndarray
    ) -> np.ndarray:
        """Posed, undressed vertices, float32 [T, V, 3], in the frame of the root rotation, metres."""
        return skin(
            self.surface.shaped(betas_S),
            self.surface.weights_VJ,
            self.rest_joints(betas_S),
            rotations_TJ3,
            translation_T3,
            self.pose_directions_PV3,
        )


@functools.lru_cache(maxsize=4)
def load_body(path: Path | None = None) -> Body:
    """The body in the SMPL-H file `path` (`.npz`), or the embedded one; loaded once per process.

    Raises `UserError` for a file that is missing, not an npz, or not of the SMPL-H format.
    """
    chosen = ensure_body() if path is None else path
    arrays = _read(chosen)
    garments = {}
    if "garment_part" in arrays:
        for part, name in enumerate(GARMENTS):
            garments[name] = _garment(arrays, part)
    eyes = arrays.get("eye_vertices", np.zeros(0, dtype=np.int64))
    return Body({key: arrays[key] for key in _KEYS}, garments, eyes)


def _float32(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, dtype=np.float32)


def _garment(arrays: Mapping[str, np.ndarray], part: int) -> Surface:
    chosen = np.flatnonzero(arrays["garment_part"] == part)
    faces = arrays["garment_f"].astype(np.int64)
    faces = faces[np.isin(faces[:, 0], chosen)]
    return Surface(
        rest_V3=arrays["garment_v_template"][chosen],
        shape_directions_V3S=arrays["garment_shapedirs"][chosen],
        weights_VJ=arrays["garment_weights"][chosen],
        faces_F3=np.searchsorted(chosen, faces),
    )


def _read(path: Path) -> dict[str, np.ndarray]:
    advice = "give the .npz file of an SMPL-H model (bodies.model), or leave the setting out"
    if path.suffix != ".npz":
        # A pickle runs code when it is loaded; the model's own site offers the same file as .npz.
        raise UserError(f"The body model {path} is not an .npz file; {advice}.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            wanted = [*_KEYS, *(name for name in archive.files if name.startswith(("garment_", "eye_")))]
            missing = [key for key in _KEYS if key not in archive.files]
            if missing:
                raise UserError(
                    f"The body model {path} has no {missing[0]!r}, so it is not an SMPL-H file; {advice}."
                )
            arrays = {key: archive[key] for key in wanted}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(
            f"The body model {path} cannot be read ({' '.join(str(error).split())}); {advice}."
        ) from error
    _check(arrays, path)
    return arrays


def _check(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    vertices = len(arrays["v_template"])
    shapes = {
        "v_template": (vertices, 3),
        "J_regressor": (NUM_JOINTS, vertices),
        "kintree_table": (2, NUM_JOINTS),
        "weights": (vertices, NUM_JOINTS),
        "posedirs": (vertices, 3, 9 * (NUM_JOINTS - 1)),
    }
    for key, shape in shapes.items():
        if arrays[key].shape != shape:
            raise UserError(
                f"The body model {path} is not SMPL-H: {key!r} has shape {arrays[key].shape}, not {shape}."
            )
    if not np.array_equal(arrays["kintree_table"][0, 1:].astype(np.int64), PARENTS[1:]):
        raise UserError(f"The body model {path} does not have the joints of SMPL-H in their order.")
    if arrays["shapedirs"].shape[:2] != (vertices, 3) or arrays["shapedirs"].shape[2] < 10:
        raise UserError(f"The body model {path} needs at least ten shape directions in 'shapedirs'.")
