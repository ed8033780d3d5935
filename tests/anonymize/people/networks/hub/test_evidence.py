"""Keypoints and masks beside the landmarks: they correct what is grossly wrong, and only add to a mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymaskdp.anonymize.people.body_track import OTHER_SIDE
from raymaskdp.anonymize.people.masks import Patch, body_height
from raymaskdp.anonymize.people.networks.hub.evidence import (
    COCO_ROWS,
    Evidence,
    corrected,
    evidence_of,
    limbs_of,
)
from raymaskdp.bodies.fitting.landmarks import MEDIAPIPE

STANDING = {
    "nose": (0, 0), "eye": (3, -3), "ear": (7, -2), "mouth": (3, 4), "shoulder": (18, 25), "elbow": (24, 50),
    "wrist": (26, 75), "pinky": (27, 82), "index": (25, 82), "thumb": (23, 80), "hip": (11, 80),
    "knee": (11, 122), "ankle": (11, 162), "heel": (9, 168), "toe": (15, 170),
}  # fmt: skip


def body() -> np.ndarray:
    """Landmarks of a person at (100, 30) who faces the camera, float32 [33, 3]."""
    rows = []
    for point in MEDIAPIPE.points:
        side, _, name = point.rpartition("_") if point == "nose" else point.partition("_")
        x, y = STANDING[name.removesuffix("_inner").removesuffix("_outer")]
        rows.append((100 + (x if side == "left" else -x), 30 + y, 0.9))
    return np.array(rows, np.float32)


def seen(landmarks_33x3: np.ndarray, score: float = 0.9) -> np.ndarray:
    """The same as COCO's keypoints, float32 [17, 3]."""
    points_17x3 = landmarks_33x3[COCO_ROWS].copy()
    points_17x3[:, 2] = score
    return points_17x3


def test_rows_are_those_of_coco() -> None:
    names = [MEDIAPIPE.points[row] for row in COCO_ROWS]
    assert names[:7] == [
        "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
    ]  # fmt: skip
    assert names[9:13] == ["left_wrist", "right_wrist", "left_hip", "right_hip"]
    assert names[15:] == ["left_ankle", "right_ankle"]


def test_a_landmark_that_is_grossly_wrong_is_moved_and_no_other() -> None:
    true = body()
    wrist = MEDIAPIPE.row("left_wrist")
    wrong = true.copy()
    wrong[wrist, :2] += (40, -30)
    moved = corrected(wrong, Evidence(points_17x3=seen(true)))
    np.testing.assert_allclose(moved[wrist, :2], true[wrist, :2])
    others = np.arange(33) != wrist
    np.testing.assert_array_equal(moved[others], wrong[others])
    assert wrong[wrist, 0] != moved[wrist, 0]  # the landmarks themselves are left alone


def test_a_guess_gives_way_and_a_small_difference_does_not() -> None:
    true = body()
    knee, elbow = MEDIAPIPE.row("right_knee"), MEDIAPIPE.row("right_elbow")
    wrong = true.copy()
    wrong[[knee, elbow], 0] += 0.03 * body_height(true)
    wrong[knee, 2] = 0.1
    moved = corrected(wrong, Evidence(points_17x3=seen(true)))
    np.testing.assert_allclose(moved[knee], (*true[knee, :2], 0.9))
    np.testing.assert_array_equal(moved[elbow], wrong[elbow])


@pytest.mark.parametrize("case", ["nobody asked", "unsure", "few", "elsewhere", "mirrored"])
def test_nothing_is_moved_where_the_networks_do_not_see_the_same_body(case: str) -> None:
    true = body()
    wrong = true.copy()
    wrong[MEDIAPIPE.row("left_wrist"), :2] += (40, -30)
    points = seen(true)
    if case == "unsure":
        points[:, 2] = 0.4
    elif case == "few":
        points[7:, 2] = 0.1
        points[:2, 2] = 0.1
    elif case == "elsewhere":
        points[:, 0] += 60
    elif case == "mirrored":
        points = seen(true[OTHER_SIDE])
    evidence = Evidence() if case == "nobody asked" else Evidence(points_17x3=points)
    np.testing.assert_array_equal(corrected(wrong, evidence), wrong)


def test_limbs_cover_the_points_that_are_seen() -> None:
    points = seen(body())
    points[9] = (300, 20, 0.1)  # a wrist that is a guess
    drawn = np.zeros((240, 320), bool)
    limbs_of(points).paint(drawn)
    for x, y, score in points:
        assert drawn[round(float(y)), round(float(x))] == (score > 0.3)
    assert drawn[100, 100]  # the torso
    assert not limbs_of(np.zeros((17, 3), np.float32)).mask_hw.size


@given(st.integers(0, 2**32 - 1))
def test_any_keypoints_can_be_drawn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = np.column_stack([rng.normal(50, 80, (17, 2)), rng.random(17)]).astype(np.float32)
    patch = limbs_of(points)
    assert patch.mask_hw.any() == (points[:, 2] >= 0.3).any()


@dataclass
class Squares:
    """A mask network and a keypoint network that see the middle of each box."""

    batch: int = 2

    def points(self, frames: Sequence[np.ndarray], boxes: Sequence[np.ndarray]) -> list[np.ndarray]:
        middles = [(some[:, :2] + some[:, 2:]) / 2 for some in boxes]
        return [
            np.concatenate([np.repeat(m[:, None], 17, 1), np.ones((len(m), 17, 1))], 2).astype(np.float32)
            for m in middles
        ]

    def masks(self, frames: Sequence[np.ndarray], boxes: Sequence[np.ndarray]) -> list[list[Patch]]:
        return [[Patch((int(x0), int(y0)), np.ones((3, 2), bool)) for x0, y0, _, _ in some] for some in boxes]


def test_each_track_gets_what_is_said_of_its_box() -> None:
    frames = [np.zeros((50, 60, 3), np.uint8)] * 2
    at = [
        {4: np.array([10.0, 10, 20, 40]), 7: np.array([-20.0, 0, -1, 40]), 2: np.array([-10.0, -10, 30, 70])},
        {},
    ]
    first, second = evidence_of(Squares(), Squares(), frames, at)
    assert second == {}
    assert set(first) == {4, 2}  # people outside the frame are not sent to the network
    assert first[2].corner == (0, 0)  # and of a box, the part that is inside
    assert first[4].corner == (10, 10)
    np.testing.assert_allclose(first[4].points_17x3[0], (15, 25, 1))
    np.testing.assert_allclose(first[2].points_17x3[0], (15, 25, 1))
    (only,) = evidence_of(None, Squares(), frames[:1], at[:1])
    assert only[4].points_17x3 is None
    assert [patch.box() for patch in only[4].patches()] == [(10, 10, 12, 13)]
    assert evidence_of(None, None, frames, at) == [{}, {}]
