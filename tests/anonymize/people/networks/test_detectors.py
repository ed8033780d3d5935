"""The two person detectors, on rendered and real people, and on pictures without people."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.formats import Film

from raymaskdp.anonymize.people import boxes
from raymaskdp.anonymize.people.frame_detector import POSE_GAIN, VOTE, merged
from raymaskdp.anonymize.people.networks.multipose import MultiPose, Poses
from raymaskdp.anonymize.people.networks.nanodet import PERSON, NanoDet
from raymaskdp.bodies.skeleton import JOINT
from raymaskdp.video.reader import stream

COCO = {
    5: "left_shoulder", 6: "right_shoulder", 11: "left_hip", 12: "right_hip", 13: "left_knee",
    14: "right_knee", 15: "left_ankle", 16: "right_ankle",
}  # fmt: skip


@pytest.fixture(scope="module")
def nanodet() -> NanoDet:
    return NanoDet()


@pytest.fixture(scope="module")
def multipose() -> MultiPose:
    return MultiPose()


@pytest.fixture(scope="module")
def still(film: Film) -> np.ndarray:
    """The first frame of the sample film: two people."""
    return next(iter(stream(film.record.path)))


@pytest.fixture(scope="module")
def room(film: Film) -> np.ndarray:
    """The same room without people."""
    return np.ascontiguousarray(
        cv2.imread(str(film.path.with_suffix("").with_suffix(".background.png")))[..., ::-1]
    )


@pytest.fixture(scope="module")
def people(film: Film) -> np.ndarray:
    """Boxes of the two in the first frame, from their joints with room for hair, float64 [2, 4]."""
    points = film.truth.pixels(film.truth.joints[:, 0])
    found = [boxes.expand(boxes.bounding_box(one), 0.06) for one in points]
    size = (film.info.width, film.info.height)
    return np.clip(found, 0, (*size, *size))


def test_both_find_rendered_people(
    nanodet: NanoDet, multipose: MultiPose, still: np.ndarray, people: np.ndarray
) -> None:
    seen_N5 = nanodet(still).people()
    assert (boxes.iou(people, seen_N5[seen_N5[:, 4] >= VOTE]).max(1) > 0.5).all()
    poses = multipose(still)
    sure = POSE_GAIN * poses.score_N >= VOTE
    assert (boxes.iou(people, poses.boxes_N4[sure]).max(1) > 0.5).all()


def test_nobody_is_seen_in_an_empty_room(nanodet: NanoDet, multipose: MultiPose, room: np.ndarray) -> None:
    assert (nanodet(room).people()[:, 4] < VOTE).all()
    assert (POSE_GAIN * multipose(room).score_N < VOTE).all()
    blank = np.full((100, 150, 3), 127, np.uint8)
    assert not len(nanodet(blank).people())
    assert not len(multipose(blank).score_N)


def test_keypoints_are_on_the_joints(
    multipose: MultiPose, still: np.ndarray, film: Film, people: np.ndarray
) -> None:
    poses = multipose(still)
    near = boxes.iou(people, poses.boxes_N4).argmax(1)
    for person, index in enumerate(near):
        truth = film.truth.pixels(film.truth.joints[person, 0])
        tall = people[person, 3] - people[person, 1]
        for row, joint in COCO.items():
            off = np.linalg.norm(poses.keypoints_N17x3[index, row, :2] - truth[JOINT[joint]])
            assert off < 0.1 * tall, (person, joint, off / tall)


@pytest.mark.parametrize(("rows", "columns"), [(1, 2), (2, 1)])
def test_boxes_are_in_pixels_of_the_picture(
    nanodet: NanoDet, multipose: MultiPose, still: np.ndarray, rows: int, columns: int
) -> None:
    """Wide and tall pictures, and others that are twice as large: the same people at the same places."""
    height, width = still.shape[:2]
    picture = np.tile(still, (rows, columns, 1))
    large = cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    for find in (lambda image: nanodet(image).people(), lambda image: scored(multipose(image))):
        small_N5, large_N5 = (found[found[:, 4] >= 0.2] for found in (find(picture), find(large)))
        assert len(small_N5) == len(large_N5) == 4
        match = boxes.iou(small_N5[:, :4] * 2, large_N5[:, :4])
        assert (match.max(1) > 0.75).all()
        assert large_N5[:, 2].max() <= 2 * columns * width
        assert large_N5[:, 3].max() <= 2 * rows * height


def scored(poses: Poses) -> np.ndarray:
    return np.column_stack([poses.boxes_N4, POSE_GAIN * poses.score_N])


def test_there_is_no_limit_of_six_people(multipose: MultiPose, still: np.ndarray) -> None:
    poses = multipose(np.tile(still, (2, 2, 1)))
    assert (POSE_GAIN * poses.score_N >= 0.15).sum() == 8


def test_things_of_other_classes_are_named(nanodet: NanoDet, still: np.ndarray) -> None:
    things = nanodet(still)
    assert len(things.boxes_N4) == len(things.score_N) == len(things.class_N)
    assert ((things.class_N >= PERSON) & (things.class_N < 80)).all()
    assert ((things.score_N > 0) & (things.score_N <= 1)).all()
    low_N2, high_N2 = things.boxes_N4[:, :2], things.boxes_N4[:, 2:]
    assert (high_N2 >= low_N2).all()


@pytest.mark.slow
def test_people_in_real_stills_are_found(nanodet: NanoDet, multipose: MultiPose, shared_videos: Path) -> None:
    """Of those that were marked by eye, middle and large ones, at the score from which a track goes on."""
    folder = shared_videos / "real"
    if not (folder / "people.csv").is_file():
        pytest.skip(f"the real stills are not at {folder}")
    marked: dict[str, list[tuple[np.ndarray, str]]] = {}
    with open(folder / "people.csv", newline="") as opened:
        for row in csv.DictReader(opened):
            if row["kind"] == "mid+large":
                box = np.array([float(row[side]) for side in ("left", "top", "right", "bottom")])
                marked.setdefault(row["still"], []).append((box, row["kind"]))
    found = []
    for name, persons in marked.items():
        image = np.ascontiguousarray(cv2.imread(str(folder / "stills" / f"{name}.jpg"))[..., ::-1])
        height, width = image.shape[:2]
        seen_N5 = nanodet(image).people()
        both = merged(seen_N5, np.zeros(len(seen_N5)), scored(multipose(image)))
        both = both[both[:, 4] >= 0.12]
        for box, _ in persons:
            overlap = boxes.iou((box * (width, height, width, height))[None], both)
            found.append(overlap.size > 0 and overlap.max() >= 0.3)
    assert len(found) > 30
    assert np.mean(found) >= 0.85, f"{sum(found)} of {len(found)}"
