import os
import subprocess
import sys

import numpy as np
import pytest

from raymaskdp.bodies.build import ensure_body
from raymaskdp.bodies.skeleton import JOINT, JOINT_NAMES

BETAS = np.random.default_rng(0).normal(size=(6, 10)).clip(-2, 2)


def test_a_second_call_costs_nothing_and_needs_no_anny():
    path = ensure_body()
    before = path.stat().st_mtime_ns
    code = (
        "import sys; sys.modules['anny'] = None\n"  # importing anny would now raise
        "from raymaskdp.bodies.body import load_body; load_body()"
    )
    environment = {**os.environ, "RAYMASKDP_CACHE": str(path.parent.parent)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert path.stat().st_mtime_ns == before


@pytest.mark.slow
def test_building_again_gives_the_same_file_and_leaves_nothing_else(tmp_path, monkeypatch):
    reference = ensure_body()
    monkeypatch.setenv("RAYMASKDP_CACHE", str(tmp_path))
    built = ensure_body()
    assert [p.name for p in built.parent.iterdir()] == [built.name]
    with np.load(reference) as first, np.load(built) as second:
        assert set(first.files) == set(second.files)
        for name in first.files:
            np.testing.assert_allclose(second[name], first[name], atol=1e-5)


def test_the_rest_pose_is_smpls_t_pose(body):
    for betas in BETAS:
        joints = body.rest_joints(betas)
        at = {name: joints[index] for name, index in JOINT.items()}
        vertices = body.surface.shaped(betas)
        for side, sign in (("left", 1), ("right", -1)):
            arm = np.stack([at[f"{side}_{joint}"] for joint in ("shoulder", "elbow", "wrist")])
            assert (sign * np.diff(arm[:, 0]) > 0.15).all()  # outwards, the left one to +x
            assert np.ptp(arm[:, 1]) < 0.02
            assert np.ptp(arm[:, 2]) < 0.02
            leg = np.stack([at[f"{side}_{joint}"] for joint in ("hip", "knee", "ankle", "foot")])
            assert (np.diff(leg[:, 1]) < 0).all()
            assert at[f"{side}_foot"][2] > at[f"{side}_ankle"][2]  # toes to +z
            assert at[f"{side}_thumb3"][2] > at[f"{side}_pinky3"][2]  # palms down
        spine = np.stack([at[joint] for joint in ("pelvis", "spine1", "spine2", "spine3", "neck", "head")])
        assert (np.diff(spine[:, 1]) > 0.02).all()
        assert vertices[:, 1].min() > at["left_ankle"][1] - 0.15


def test_joints_lie_inside_the_limbs_for_every_shape(body):
    """The regressor is exact: a joint stays in the middle of the vertices that turn with it."""
    weights = body.surface.weights_VJ
    for betas in BETAS:
        joints, vertices = body.rest_joints(betas), body.surface.shaped(betas)
        for name in ("left_knee", "right_elbow", "right_ankle", "left_index2"):
            j = JOINT[name]
            ring = vertices[np.minimum(weights[:, j], weights[:, body.parents_J[j]]) > 0.25]
            assert len(ring) > 5
            assert np.linalg.norm(ring.mean(axis=0) - joints[j]) < 0.05, name


def test_shapes_are_adults_of_different_height_and_build(body):
    def height(betas):
        return np.ptp(body.surface.shaped(np.asarray(betas, dtype=float))[:, 1])

    def volume(betas):
        corners = body.surface.shaped(np.asarray(betas, dtype=float))[body.faces_F3]
        return np.einsum("fi,fi->f", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6

    many = np.random.default_rng(1).normal(size=(200, 10)).clip(-2, 2)
    heights = np.array([height(b) for b in many])
    assert 1.60 < heights.mean() < 1.78
    assert 0.05 < heights.std() < 0.15
    assert heights.min() > 1.35
    assert heights.max() < 2.10
    masses = 1000 * np.array([volume(b) for b in many[:40]])  # a body weighs about what water does
    assert 50 < masses.mean() < 85
    assert masses.max() / masses.min() > 1.4
    for direction in range(10):
        step = body.surface.shaped(np.eye(10)[direction]) - body.surface.shaped(np.zeros(10))
        assert np.abs(step).max() > 0.003


def test_weights_are_convex_and_local(body):
    for surface in (body.surface, *body.garments.values()):
        weights = surface.weights_VJ
        assert weights.min() >= 0
        np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
    left_hand = [i for i, name in enumerate(JOINT_NAMES) if name.startswith("left_") and name[-1] in "123"]
    x = body.surface.rest_V3[:, 0]
    assert x[body.surface.weights_VJ[:, left_hand].sum(axis=1) > 0.5].min() > 0.5
