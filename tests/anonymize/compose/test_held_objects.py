"""Objects that are removed with a person are drawn again as plain solids, from boxes and classes alone."""

import numpy as np
import pytest

from raymaskdp.anonymize.compose.held_objects import (
    COLOURS,
    LEAST_BEST,
    SOLIDS,
    HeldObjects,
    Solid,
    held_objects,
    outline,
)
from raymaskdp.anonymize.people.networks.nanodet import PERSON, BoxDetections
from raymaskdp.bodies.render import Rendered, nothing_drawn
from raymaskdp.video import masks

BALL, FRISBEE, CUP, RACKET, SKATEBOARD = 32, 29, 41, 38, 36
H, W, T, FPS = 120, 160, 20, 10.0
EVERY = 2  # frames between two detections


def seen(*detections: tuple[int, float, np.ndarray]) -> BoxDetections:
    return BoxDetections(
        boxes_N4=np.array([box_4 for *_, box_4 in detections], np.float32).reshape(-1, 4),
        score_N=np.array([score for _, score, _ in detections], np.float32),
        class_N=np.array([kind for kind, *_ in detections], int),
    )


def box_at(frame: int, speed: float = 4.0) -> np.ndarray:
    return np.array([30 + speed * frame, 40, 42 + speed * frame, 52], np.float64)


def throws(kind: int = BALL, score: float = 0.7, speed: float = 4.0) -> dict[int, BoxDetections]:
    return {frame: seen((kind, score, box_at(frame, speed))) for frame in range(0, T, EVERY)}


def people_TB(*, columns: slice = slice(0, W), frames: slice = slice(0, T)) -> np.ndarray:
    mask_THW = np.zeros((T, H, W), bool)
    mask_THW[frames, :, columns] = True
    return masks.pack(mask_THW)


def drawn_frames(things: dict[int, BoxDetections], covered_TB: np.ndarray) -> list[int]:
    held = held_objects(things, covered_TB, height=H, width=W, fps=FPS)
    return [index for index in range(T) if held.at(index)]


def test_a_ball_before_a_person_is_drawn_in_every_frame() -> None:
    held = held_objects(throws(), people_TB(), height=H, width=W, fps=FPS)
    for index in range(T - EVERY + 1):
        [(solid, box_4)] = held.at(index)
        assert solid == Solid.BALL
        np.testing.assert_allclose(box_4, box_at(index), atol=0.01)  # between two detections, too


def test_an_object_beside_people_stays_real() -> None:
    assert drawn_frames(throws(), people_TB(columns=slice(140, W))) == []


def test_it_is_drawn_a_little_before_and_after_it_is_hidden() -> None:
    frames = drawn_frames(throws(), people_TB(frames=slice(8, 10)))
    assert frames == list(range(6, 12))  # a quarter of a second is two frames


@pytest.mark.parametrize("kind", [PERSON, RACKET, SKATEBOARD])
def test_classes_that_are_given_to_limbs_are_not_drawn(kind: int) -> None:
    assert drawn_frames(throws(kind, 0.99), people_TB()) == []


def test_faint_rare_and_large_detections_are_not_drawn() -> None:
    assert drawn_frames(throws(score=LEAST_BEST - 0.01), people_TB()) == []
    rare = {frame: things for frame, things in throws().items() if frame < 2 * EVERY}
    assert drawn_frames(rare, people_TB()) == []
    large = {frame: seen((CUP, 0.9, np.array([10, 10, 60, 60.0]))) for frame in range(0, T, EVERY)}
    assert drawn_frames(large, people_TB()) == []


def test_a_still_object_that_the_plate_shows_is_not_drawn_over_who_passes() -> None:
    clock = throws(speed=0.0)
    assert drawn_frames(clock, people_TB(frames=slice(5, 12))) == []
    assert len(drawn_frames(clock, people_TB())) >= T - EVERY  # a cup that is held still, never seen without


def test_two_classes_of_one_solid_are_one_object() -> None:
    both = {
        frame: seen((BALL, 0.6, box_at(frame)), (FRISBEE, 0.5, box_at(frame) + 1)) if frame % 4 else
        seen((FRISBEE, 0.6, box_at(frame)))
        for frame in range(0, T, EVERY)
    }  # fmt: skip
    held = held_objects(both, people_TB(), height=H, width=W, fps=FPS)
    assert all(len(held.at(index)) == 1 for index in range(T - EVERY + 1))


def one(solid: Solid, box_4: np.ndarray) -> HeldObjects:
    return HeldObjects(
        frame_N=np.array([3]), solid_N=np.array([int(solid)]), boxes_N4=np.array([box_4], np.float32)
    )


@pytest.mark.parametrize("solid", Solid)
def test_an_object_is_before_the_avatars_and_a_whole_pixel(solid: Solid) -> None:
    box_4 = np.array([-6.0, 20.3, 14.0, 41.7])  # partly outside the frame
    mask_HW = np.zeros((H, W), bool)
    mask_HW[10:60, 5:40] = True
    avatars = Rendered(
        color_HW3=np.repeat(90 * mask_HW[..., None].astype(np.uint8), 3, axis=2),
        depth_HW=np.where(mask_HW, 2.5, 0).astype(np.float32),
        mask_HW=mask_HW,
        normals_HW3=np.zeros((H, W, 3), np.float32),
    )
    before = avatars.color_HW3.copy()
    shown = one(solid, box_4).draw_over(avatars, 3)
    expected_HW = np.zeros((H, W), bool)
    outline(solid, box_4).paint(expected_HW)
    np.testing.assert_array_equal(shown.mask_HW, mask_HW | expected_HW)
    assert (shown.depth_HW[expected_HW] < 2.5).all()
    assert (shown.depth_HW[expected_HW] > 2).all()
    np.testing.assert_array_equal(shown.color_HW3[~expected_HW], avatars.color_HW3[~expected_HW])
    assert (shown.color_HW3[expected_HW] <= COLOURS[solid]).all()
    assert shown.normals_HW3 is not None
    np.testing.assert_allclose(np.linalg.norm(shown.normals_HW3[expected_HW], axis=-1), 1, atol=1e-5)
    assert (shown.normals_HW3[expected_HW][:, 2] <= 0).all()  # towards the camera
    np.testing.assert_array_equal(avatars.color_HW3, before)  # the inputs stay as they are


def test_without_avatars_or_outside_the_frame() -> None:
    assert one(Solid.BALL, np.array([20.0, 20, 40, 40])).draw_over(nothing_drawn(H, W), 3).mask_HW.any()
    away = one(Solid.BALL, np.array([-40.0, -40, -20, -20])).draw_over(nothing_drawn(H, W), 3)
    assert not away.mask_HW.any()
    drawn = nothing_drawn(H, W)
    assert one(Solid.BALL, np.array([20.0, 20, 40, 40])).draw_over(drawn, 2) is drawn


def test_the_real_object_is_removed_with_the_person() -> None:
    held = held_objects(throws(), people_TB(frames=slice(8, 10)), height=H, width=W, fps=FPS)
    removed_THW = masks.unpack(held.film(T, H, W), H, W)
    for index in range(T):
        assert removed_THW[index].any() == bool(held.at(index))
        for solid, box_4 in held.at(index):
            expected_HW = np.zeros((H, W), bool)
            outline(solid, box_4).paint(expected_HW)
            np.testing.assert_array_equal(removed_THW[index], expected_HW)


def test_every_solid_has_a_colour() -> None:
    assert set(COLOURS) == set(SOLIDS.values()) == set(Solid)
