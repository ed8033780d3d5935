"""Scores: the truth against itself is perfect, and known mistakes give known figures."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from raymaskdp.anonymize.people.people import People, Person
from raymaskdp.anonymize.people.scoring import project, score
from raymaskdp.bodies.body import load_body
from raymaskdp.bodies.motion import Motion
from raymaskdp.errors import UserError
from raymaskdp.video.masks import pack

T, H, W = 5, 90, 160
CAMERA = np.array([[120.0, 0, 80], [0, 120, 45], [0, 0, 1]])


def motion(x: float) -> Motion:
    """A person standing `x` metres to the right, facing the camera."""
    rotations = np.zeros((T, 52, 3), np.float32)
    rotations[:, 0, 0] = np.pi
    centre = load_body().rest_joints(np.zeros(10, np.float32)).mean(0)
    translation = np.tile(np.float32([x, centre[1] * 2, 4]), (T, 1))
    return Motion(
        rotations_TJ3=rotations,
        translation_T3=translation,
        visible_T=np.ones(T, bool),
        betas_S=np.zeros(10, np.float32),
        camera_33=CAMERA,
        track_id=0,
    )


def person(mask: np.ndarray) -> Person:
    return Person(
        track_id=0,
        visible_T=np.ones(T, bool),
        detected_T=np.ones(T, bool),
        keypoints_TL3=np.zeros((T, 33, 3), np.float32),
        world_TL3=np.zeros((T, 33, 3), np.float32),
        masks_T=np.tile(pack(mask), (T, 1)),
    )


def people(mask: np.ndarray) -> People:
    return People(width=W, height=H, fps=30.0, num_frames=T, persons=(person(mask),))


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    body, mask = load_body(), np.zeros((H, W), bool)
    mask[20:60, 40:60] = True
    standing = [motion(-0.6), motion(0.6)]
    np.savez(
        tmp_path / "truth.npz",
        joints2d=np.array([project(m, body) for m in standing]),
        joints3d=np.array([body.joints(m.rotations_TJ3, m.translation_T3, m.betas_S) for m in standing]),
        betas=np.zeros((2, 10), np.float32),
        masks=np.tile(pack(mask), (T, 1)),
    )
    return tmp_path / "truth.npz"


def test_the_truth_is_perfect(truth: Path) -> None:
    mask = np.zeros((H, W), bool)
    mask[20:60, 40:60] = True
    got = score(people(mask), [motion(0.6), motion(-0.6)], truth, load_body())
    assert got.person_recall == got.mask_recall == got.mask_iou == 1
    assert got.identity_switches == got.false_tracks == 0
    assert got.joint_error_mm == pytest.approx(0, abs=0.1)
    assert got.joint_error_px == pytest.approx(0, abs=1e-2)


def test_mistakes_are_counted(truth: Path) -> None:
    half = np.zeros((H, W), bool)
    half[20:60, 40:50] = True
    shifted = motion(-0.6)
    shifted = dataclasses.replace(shifted, translation_T3=shifted.translation_T3 + np.float32([0.1, 0, 0]))
    got = score(people(half), [shifted], truth, load_body())
    assert got.person_recall == 0.5
    assert got.mask_recall == got.mask_recall_worst == got.mask_iou == 0.5
    # 0.1 m at 4 m and 120 px a unit angle are three pixels.
    assert got.joint_error_px == pytest.approx(3.0, rel=0.1)
    assert got.joint_error_mm == pytest.approx(0, abs=0.1)


def test_outlines_are_what_is_compared_where_there_are_any(truth: Path) -> None:
    exact, generous = np.zeros((2, H, W), bool)
    exact[20:60, 40:60] = True
    generous[10:70, 30:70] = True
    whole = dataclasses.replace(person(generous), outlines_T=np.tile(pack(exact), (T, 1)))
    both = dataclasses.replace(people(generous), persons=(whole,))
    assert score(both, [motion(0.6)], truth, load_body()).mask_iou == 1
    assert score(people(generous), [motion(0.6)], truth, load_body()).mask_iou == pytest.approx(1 / 3)


def test_a_change_of_tracks_is_a_switch(truth: Path) -> None:
    early, late = motion(-0.6), motion(-0.6)
    early.visible_T[3:] = False
    late.visible_T[:3] = False
    got = score(people(np.ones((H, W), bool)), [early, late, motion(5.0)], truth, load_body())
    assert got.identity_switches == 1
    assert got.false_tracks == 1


def test_a_file_that_is_no_truth_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"no")
    with pytest.raises(UserError, match="ground-truth"):
        score(people(np.ones((H, W), bool)), [], tmp_path / "x.npz", load_body())
