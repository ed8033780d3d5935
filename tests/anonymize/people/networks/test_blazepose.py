"""The landmark network in windows: as MediaPipe runs it, turned, scaled, many at once; following by it."""

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.formats import Film
from support.onnx_files import linear

from raymaskdp.anonymize.people import boxes
from raymaskdp.anonymize.people.networks.blazepose import BlazePose, WindowResult
from raymaskdp.anonymize.people.networks.landmark_tracker import KEPT_S, RETRY_S, LandmarkTracker
from raymaskdp.anonymize.people.networks.mediapipe import CropView, PoseNetworks
from raymaskdp.anonymize.people.networks.windows import Window, guesses
from raymaskdp.errors import UserError
from raymaskdp.video.reader import stream

FPS = 12.0


@pytest.fixture(scope="module")
def network() -> BlazePose:
    return BlazePose()


@pytest.fixture(scope="module")
def frames(film: Film) -> list[np.ndarray]:
    return list(stream(film.record.path))


@pytest.fixture(scope="module")
def box_4(film: Film, frames: list[np.ndarray]) -> np.ndarray:
    """Around the first of two people, in the first frame."""
    return box_of(film, 0)


def box_of(film: Film, person: int) -> np.ndarray:
    with np.load(film.path) as stored:
        points_J2 = stored["joints2d"][person, 0]
    margin = 0.1 * np.ptp(points_J2, axis=0).max()
    return np.concatenate([points_J2.min(0) - margin, points_J2.max(0) + margin])


def found(network: BlazePose, frame_HW3: np.ndarray, box_4: np.ndarray) -> WindowResult:
    """A person after three runs of the network, so that the window is at its own position."""
    (window,) = guesses(box_4)[:1]
    for _ in range(3):
        (result,) = network(frame_HW3, [window])
        window = result.window
    return result


def extent(result: WindowResult) -> float:
    return float(np.ptp(result.body.keypoints_33x3[:, 1]))


def test_landmarks_are_mediapipes(network: BlazePose, frames: list[np.ndarray], box_4: np.ndarray) -> None:
    """Its own graph finds the same network's window with a detector, so they differ a little."""
    height, width = frames[0].shape[:2]
    result = found(network, frames[0], box_4)
    part = boxes.clip_to_frame(boxes.expand(box_4, 0.2), height=height, width=width)
    others = PoseNetworks(confidence=0.3, limit=2).bodies(CropView.of(frames[0], part))
    away = [
        np.linalg.norm(other.keypoints_33x3[:, :2] - result.body.keypoints_33x3[:, :2], axis=1).mean()
        for other in others
    ]
    nearest = others[int(np.argmin(away))]
    assert min(away) < 0.03 * extent(result)
    apart = np.linalg.norm(nearest.world_33x3 - result.body.world_33x3, axis=1)
    assert np.median(apart) < 0.06  # metres
    assert result.presence > 0.9
    theirs, mine = (np.zeros((height, width), bool) for _ in range(2))
    for body, whole_HW in ((nearest, theirs), (result.body, mine)):
        (x, y), (h, w) = body.corner, body.mask_hw.shape
        whole_HW[y : y + h, x : x + w] = body.mask_hw > 0.5
    assert (theirs & mine).sum() > 0.85 * (theirs | mine).sum()


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_turned_picture_has_turned_landmarks(
    network: BlazePose, frames: list[np.ndarray], box_4: np.ndarray, quarters: int
) -> None:
    result = found(network, frames[0], box_4)
    height, width = frames[0].shape[:2]
    turned = np.ascontiguousarray(np.rot90(frames[0], -quarters))  # clockwise
    window, x, y = result.window, result.window.x, result.window.y
    (straight,) = network(frames[0], [window])
    points_33x2 = straight.body.keypoints_33x3[:, :2].astype(np.float64)
    for _ in range(quarters):
        x, y = height - 1 - y, x
        points_33x2 = np.column_stack([height - 1 - points_33x2[:, 1], points_33x2[:, 0]])
        height, width = width, height
    where = Window(x=x, y=y, side=window.side, turn=window.turn + quarters * math.pi / 2)
    (other,) = network(turned, [where])
    np.testing.assert_allclose(other.body.keypoints_33x3[:, :2], points_33x2, atol=0.02 * extent(result))
    np.testing.assert_allclose(other.presence, straight.presence, atol=0.01)
    # The turn of the window is taken out of the points in space, too.
    angle = quarters * math.pi / 2
    turn_33 = np.array(
        [[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]]
    )
    np.testing.assert_allclose(other.body.world_33x3, straight.body.world_33x3 @ turn_33.T, atol=0.03)
    apart = (other.window.turn - straight.window.turn - angle + math.pi) % (2 * math.pi) - math.pi
    assert abs(apart) < 0.03


def test_an_enlarged_picture_has_enlarged_landmarks(
    network: BlazePose, frames: list[np.ndarray], box_4: np.ndarray
) -> None:
    result = found(network, frames[0], box_4)
    large = cv2.resize(frames[0], None, fx=5, fy=5, interpolation=cv2.INTER_LINEAR)
    other = found(network, large, 5 * box_4)
    apart = np.linalg.norm(other.body.keypoints_33x3[:, :2] / 5 - result.body.keypoints_33x3[:, :2], axis=1)
    assert np.median(apart) < 0.02 * extent(result)


def test_many_windows_are_one_after_the_other(
    network: BlazePose, frames: list[np.ndarray], film: Film
) -> None:
    windows = [window for person in (0, 1) for window in guesses(box_of(film, person))[:2]]
    together = network(frames[0], windows)
    for window, result in zip(windows, together, strict=True):
        (alone,) = network(frames[0], [window])
        np.testing.assert_allclose(alone.body.keypoints_33x3, result.body.keypoints_33x3, atol=1e-2)
        assert alone.presence == pytest.approx(result.presence, abs=1e-4)
    assert network(frames[0], []) == []


def test_nobody_is_found_in_an_empty_room(film: Film, frames: list[np.ndarray]) -> None:
    background = cv2.imread(str(film.path.with_suffix("").with_suffix(".background.png")))[..., ::-1]
    following = LandmarkTracker(BlazePose(), presence=0.5, fps=FPS)
    assert not following(np.ascontiguousarray(background), {n: box_of(film, n) for n in (0, 1)})


def test_a_window_puts_hips_into_the_middle_and_the_head_above() -> None:
    window = Window.from_hips(np.array([50.0, 80.0]), np.array([90.0, 80.0]))  # a head to the right
    to_frame_23 = window.to_frame(256)
    middle = to_frame_23 @ [128, 128, 1]
    above = to_frame_23 @ [128, 0, 1]
    np.testing.assert_allclose(middle, [50, 80])
    assert above[0] > 90
    assert above[1] == pytest.approx(80)
    assert window.side == pytest.approx(100)


def test_only_who_is_wide_is_taken_to_lie() -> None:
    assert {window.turn for window in guesses(np.array([0, 0, 50, 100]))} == {0}
    assert len({window.turn for window in guesses(np.array([0, 0, 100, 50]))}) == 3


ANOTHER = linear(np.zeros((1, 3, 8, 8), np.float32), np.zeros(1, np.float32), 8)


@pytest.mark.parametrize("content", [b"nothing", ANOTHER])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "other.onnx").write_bytes(content)
    with pytest.raises(UserError, match=r"other\.onnx"):
        BlazePose(tmp_path / "other.onnx")


class Counted(BlazePose):
    """The network, counting what it looks at."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0

    def __call__(self, frame_HW3: np.ndarray, windows: Sequence[Window]) -> list[WindowResult]:
        self.looks += len(windows)
        return super().__call__(frame_HW3, windows)


def test_who_was_found_is_followed_with_one_look_a_frame(frames: list[np.ndarray], film: Film) -> None:
    network = Counted()
    following = LandmarkTracker(network, presence=0.5, fps=FPS)
    two = {7: box_of(film, 0), 9: box_of(film, 1)}
    assert following(frames[0], two).keys() == two.keys()
    before = network.looks
    for frame_HW3 in frames[1:6]:
        seen = following(frame_HW3, two)
        assert seen.keys() == two.keys()
    assert network.looks - before == 2 * 5
    # Each has the body that is theirs.
    for track, box_4 in two.items():
        middle = seen[track].keypoints_33x3[[11, 12, 23, 24], :2].mean(0)
        assert (middle > box_4[:2]).all()
        assert (middle < box_4[2:]).all()


def test_two_boxes_of_one_person_have_one_body(frames: list[np.ndarray], box_4: np.ndarray) -> None:
    following = LandmarkTracker(BlazePose(), presence=0.5, fps=FPS)
    for frame_HW3 in frames[:3]:
        assert len(following(frame_HW3, {0: box_4, 1: box_4 + 2})) == 1


def test_who_is_hidden_for_a_moment_is_found_at_once(frames: list[np.ndarray], box_4: np.ndarray) -> None:
    following = LandmarkTracker(BlazePose(), presence=0.5, fps=FPS)
    empty = np.full_like(frames[0], 127)
    assert 0 in following(frames[0], {0: box_4})
    assert not following(empty, {0: box_4})
    assert 0 in following(frames[1], {0: box_4})


def test_who_is_not_there_is_looked_for_now_and_then(frames: list[np.ndarray], box_4: np.ndarray) -> None:
    network = Counted()
    following = LandmarkTracker(network, presence=0.5, fps=FPS)
    empty = np.full_like(frames[0], 127)
    looked = []
    for _ in range(2 * round(KEPT_S * FPS)):
        before = network.looks
        following(empty, {0: box_4})
        looked.append(network.looks > before)
    assert np.flatnonzero(looked).tolist() == list(range(0, len(looked), round(RETRY_S * FPS)))
