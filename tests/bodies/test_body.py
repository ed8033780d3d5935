import numpy as np
import pytest
import smplx
import torch

from raymaskdp.bodies.body import load_body
from raymaskdp.bodies.skeleton import NUM_JOINTS
from raymaskdp.errors import UserError

T = 5


def _poses(seed):
    rng = np.random.default_rng(seed)
    return (
        rng.normal(0, 0.4, (T, NUM_JOINTS, 3)).astype(np.float32),
        rng.normal(0, 1, (T, 3)).astype(np.float32),
        rng.normal(0, 1, 10).astype(np.float32),
    )


def _smplx_reference(path, rotations, translation, betas):
    """What `smplx` itself makes of the file, read the way its users read it."""
    with np.load(path) as archive:
        data = smplx.utils.Struct(**{name: archive[name] for name in archive.files})
    model = smplx.SMPLH("", data_struct=data, use_pca=False, flat_hand_mean=True, batch_size=T)
    pose = torch.from_numpy(rotations)
    output = model(
        betas=torch.from_numpy(betas).expand(T, -1),
        global_orient=pose[:, 0],
        body_pose=pose[:, 1:22].reshape(T, -1),
        left_hand_pose=pose[:, 22:37].reshape(T, -1),
        right_hand_pose=pose[:, 37:].reshape(T, -1),
        transl=torch.from_numpy(translation),
    )
    return output.vertices.detach().numpy(), output.joints[:, :NUM_JOINTS].detach().numpy()


@pytest.mark.parametrize("which", ["embedded", "licensed"])
def test_vertices_and_joints_are_those_of_smplx(which, licensed_file):
    from raymaskdp.bodies.build import ensure_body

    path = ensure_body() if which == "embedded" else licensed_file
    rotations, translation, betas = _poses(3)
    body = load_body(None if which == "embedded" else path)
    vertices, joints = _smplx_reference(path, rotations, translation, betas)
    np.testing.assert_allclose(body.vertices(rotations, translation, betas), vertices, atol=2e-5)
    np.testing.assert_allclose(body.joints(rotations, translation, betas), joints, atol=2e-5)


def test_zero_pose_gives_the_rest_joints(body):
    betas = np.linspace(-1, 1, 10)
    still = np.zeros((1, NUM_JOINTS, 3), dtype=np.float32)
    np.testing.assert_allclose(
        body.joints(still, np.zeros((1, 3)), betas)[0], body.rest_joints(betas), atol=1e-6
    )


def test_root_rotation_turns_about_the_pelvis(body):
    rotations = np.zeros((1, NUM_JOINTS, 3), dtype=np.float32)
    rotations[0, 0] = [0.3, -1.1, 0.4]
    betas = np.ones(10)
    pelvis = body.joints(rotations, np.array([[1.0, 2.0, 3.0]]), betas)[0, 0]
    np.testing.assert_allclose(pelvis, body.rest_joints(betas)[0] + [1, 2, 3], atol=1e-6)


def test_loading_twice_gives_the_same_object():
    assert load_body() is load_body()


def _damaged(path, tmp_path, **changes):
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    arrays |= changes
    damaged = tmp_path / "damaged.npz"
    np.savez(damaged, **{name: value for name, value in arrays.items() if value is not None})
    return damaged


def test_what_is_no_smplh_file_is_refused_with_a_sentence(tmp_path, licensed_file):
    missing = tmp_path / "nothing.npz"
    with pytest.raises(UserError, match=r"nothing\.npz cannot be read"):
        load_body(missing)
    garbage = tmp_path / "garbage.npz"
    garbage.write_bytes(b"no zip at all")
    with pytest.raises(UserError, match=r"garbage\.npz cannot be read"):
        load_body(garbage)
    pickled = tmp_path / "model.pkl"
    pickled.write_bytes(b"cos\nsystem\n(S'echo'\ntR.")
    with pytest.raises(UserError, match=r"not an \.npz file"):
        load_body(pickled)
    with pytest.raises(UserError, match="no 'posedirs'"):
        load_body(_damaged(licensed_file, tmp_path, posedirs=None))
    with pytest.raises(UserError, match="'weights' has shape"):
        load_body(_damaged(licensed_file, tmp_path, weights=np.zeros((6890, 24))))


def test_objects_in_a_file_are_never_unpickled(tmp_path, licensed_file):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was executed",))

    trap = np.empty(1, dtype=object)
    trap[0] = Trap()
    with pytest.raises(UserError, match="cannot be read"):
        load_body(_damaged(licensed_file, tmp_path, v_template=trap))
