import numpy as np
import pytest

from raymaskdp.bodies.body import Body, load_body
from raymaskdp.bodies.skeleton import NUM_JOINTS, PARENTS


@pytest.fixture(scope="session")
def body() -> Body:
    return load_body()


@pytest.fixture(scope="session")
def licensed_file(tmp_path_factory, body):
    """A file with the keys, shapes and types of a licensed SMPL-H model: 6890 vertices, 16 shape
    directions, pose corrections, posed hands, no clothes. Its skin is a sparse copy of the embedded one."""
    rng = np.random.default_rng(0)
    vertices = 6890
    chosen = np.sort(rng.choice(len(body.surface.rest_V3), vertices, replace=False))
    regressor = np.zeros((NUM_JOINTS, vertices))
    joints = body.rest_joints(np.zeros(10))
    rest = body.surface.rest_V3[chosen].astype(np.float64)
    for joint, place in enumerate(joints):
        near = np.argsort(np.linalg.norm(rest - place, axis=1))[:20]
        regressor[joint, near] = 1 / 20
    nearest = np.full(len(body.surface.rest_V3), -1)
    nearest[chosen] = np.arange(vertices)
    faces = nearest[body.faces_F3]
    faces = faces[(faces >= 0).all(axis=1)]
    parents = PARENTS.astype(np.uint32)  # -1 is stored as 2³² - 1, as in the official files
    path = tmp_path_factory.mktemp("licensed") / "SMPLH_NEUTRAL.npz"
    np.savez(
        path,
        v_template=rest,
        f=faces.astype(np.uint32),
        J_regressor=regressor,
        kintree_table=np.stack([parents, np.arange(NUM_JOINTS, dtype=np.uint32)]),
        weights=body.surface.weights_VJ[chosen].astype(np.float64),
        shapedirs=rng.normal(0, 0.005, (vertices, 3, 16)),
        posedirs=rng.normal(0, 0.001, (vertices, 3, 459)),
        hands_meanl=rng.normal(0, 0.2, 45),
        hands_meanr=rng.normal(0, 0.2, 45),
        hands_componentsl=np.eye(45),
        hands_componentsr=np.eye(45),
        bs_type="lrotmin",
        bs_style="lbs",
    )
    return path
