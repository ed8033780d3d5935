"""Hands are found without the rest of a person."""

from pathlib import Path

import numpy as np
import pytest

from raymaskdp.anonymize.verify.config import VerifyConfig
from raymaskdp.anonymize.verify.hands import HandDetector, arm_boxes
from raymaskdp.anonymize.verify.look_again import LookAgain
from raymaskdp.video.reader import read_frames


@pytest.fixture(scope="module")
def detect() -> HandDetector:
    return HandDetector(VerifyConfig().hands)


def test_nobody_has_hands_in_plain_pictures_and_noise(detect: HandDetector) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    for frame_HW3 in (np.zeros((240, 320, 3), np.uint8), np.full((240, 320, 3), 200, np.uint8), noise):
        assert detect(frame_HW3).shape == (0, 4)


@pytest.mark.parametrize("turns", range(4))
def test_a_hand_on_a_real_picture_is_found_however_it_is_turned(
    detect: HandDetector, shared_videos: Path, turns: int
) -> None:
    """The hand on the keyboard is at (405..500, 260..350) of 852×480; the forearm comes from below."""
    (frame_HW3,) = read_frames(shared_videos / "real" / "laptop_hands.mp4", np.array([0]))
    height, width = frame_HW3.shape[:2]
    marked_HW = np.zeros((height, width), bool)
    for x0, y0, x1, y1 in detect(np.ascontiguousarray(np.rot90(frame_HW3, turns))).round().astype(int):
        turned_HW = np.rot90(np.zeros((height, width), bool), turns).copy()
        turned_HW[max(0, y0) : max(0, y1), max(0, x0) : max(0, x1)] = True
        marked_HW |= np.rot90(turned_HW, -turns)
    assert marked_HW[265:345, 410:490].mean() > 0.9
    assert marked_HW.mean() < 0.15


def test_the_second_look_reports_hands(shared_videos: Path) -> None:
    (frame_HW3,) = read_frames(shared_videos / "real" / "laptop_hands.mp4", np.array([0]))
    without, found = (LookAgain(VerifyConfig(hands=least))(frame_HW3) for least in (1.0, 0.8))
    assert len(found) == len(without) + 5  # the hand, and four boxes along the forearm


def test_the_boxes_cover_the_hand_and_the_forearm() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        points = rng.normal(0, 20, (21, 2)) + rng.uniform(100, 200, 2)
        wrist, knuckle = points[0], points[9]
        covered = arm_boxes(points)
        for place in [*points, *(wrist + far * (wrist - knuckle) for far in np.linspace(0, 2.8, 29))]:
            assert ((covered[:, :2] <= place) & (place <= covered[:, 2:])).all(1).any()
