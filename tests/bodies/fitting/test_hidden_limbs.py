"""Limbs below the picture hang; others stay as they are."""

from __future__ import annotations

import numpy as np

from raymaskdp.bodies.fitting.hidden_limbs import cut_off_legs, straighten_hidden_limbs
from raymaskdp.bodies.fitting.landmarks import MEDIAPIPE

ROW = MEDIAPIPE.row

LEG = ("knee", "ankle", "heel", "toe")


def standing() -> np.ndarray:
    """An upright person, y downwards, with the left hand at the face and bent knees."""
    points = np.random.default_rng(0).normal(0, 0.02, (3, 33, 3))
    for name, place in {
        "left_shoulder": (0.2, 0, 0), "right_shoulder": (-0.2, 0, 0), "left_hip": (0.1, 0.5, 0),
        "right_hip": (-0.1, 0.5, 0), "left_elbow": (0.3, 0.25, -0.1), "left_wrist": (0.1, 0, -0.25),
        "left_index": (0.1, -0.05, -0.3), "right_elbow": (-0.3, 0.25, 0), "right_wrist": (-0.3, 0.5, 0),
        "left_knee": (0.2, 0.6, -0.4), "left_ankle": (0.2, 1, -0.3), "left_toe": (0.2, 1.05, -0.4),
    }.items():  # fmt: skip
        points[:, ROW(name)] = place
    return points


def test_an_arm_whose_elbow_is_below_the_picture_hangs_from_its_shoulder() -> None:
    points, below = standing(), np.zeros((3, 33), bool)
    below[1, ROW("left_elbow")] = True
    result = straighten_hidden_limbs(points, below, MEDIAPIPE)
    np.testing.assert_array_equal(result[[0, 2]], points[[0, 2]])
    elbow, wrist, finger = (result[1, ROW(f"left_{name}")] for name in ("elbow", "wrist", "index"))
    np.testing.assert_allclose(elbow, (0.2, np.linalg.norm((0.1, 0.25, 0.1)), 0), atol=1e-9)
    np.testing.assert_allclose(wrist - elbow, (0, np.linalg.norm((0.2, 0.25, 0.15)), 0), atol=1e-9)
    np.testing.assert_allclose(finger - wrist, (0, -0.05, -0.05), atol=1e-9)
    others = [
        row for row, name in enumerate(MEDIAPIPE.points) if name.split("_")[0] != "left" or "ear" in name
    ]
    np.testing.assert_array_equal(result[1, others], points[1, others])


def test_a_leg_whose_knee_is_below_the_picture_is_straight_and_a_hidden_foot_alone_changes_nothing() -> None:
    points, below = standing(), np.zeros((3, 33), bool)
    below[0, ROW("left_knee")] = True
    below[1, MEDIAPIPE.rows(["left_ankle", "left_toe", "left_wrist"])] = True
    result = straighten_hidden_limbs(points, below, MEDIAPIPE)
    hip, knee, ankle = (result[0, ROW(f"left_{name}")] for name in ("hip", "knee", "ankle"))
    assert np.cross(knee - hip, ankle - hip) @ np.cross(knee - hip, ankle - hip) < 1e-12
    assert ankle[1] > knee[1] > hip[1]
    np.testing.assert_array_equal(result[1], points[1])


def test_lengths_of_limbs_are_kept() -> None:
    points = standing()
    result = straighten_hidden_limbs(points, np.ones((3, 33), bool), MEDIAPIPE)
    for a, b in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle")):
        for side in ("left", "right"):
            rows = MEDIAPIPE.rows([f"{side}_{a}", f"{side}_{b}"])
            lengths = (np.linalg.norm(np.diff(each[:, rows], axis=1), axis=-1) for each in (points, result))
            np.testing.assert_allclose(*lengths, atol=1e-9)


def test_unseen_legs_of_a_body_that_the_frame_cuts_off_are_below_it() -> None:
    visible = np.ones((3, 33))
    legs = [row for row, name in enumerate(MEDIAPIPE.points) if name.split("_")[-1] in LEG]
    visible[:2, legs] = 0.1
    below = cut_off_legs(np.array([True, False, True]), visible, MEDIAPIPE)
    expected = np.zeros((3, 33), bool)
    expected[0, legs] = True  # the second is not cut off, and the third is seen
    np.testing.assert_array_equal(below, expected)
