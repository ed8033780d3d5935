"""One body along a track: which observations agree, what lies in a gap, and the geometry of masks."""

import dataclasses
from dataclasses import replace

import numpy as np
import pytest
import scipy.ndimage

from raymaskdp.anonymize.people.body_track import (
    OTHER_SIDE,
    BodyObservation,
    BodyTrack,
    Observations,
    interpolate,
    nose_ahead,
    same_body,
    to_observation,
)
from raymaskdp.anonymize.people.masks import Patch, body_height, crop_to_content, dilate_patch, limbs, union
from raymaskdp.anonymize.people.networks.mediapipe import BodyDetection

STANDING = np.array(
    [
        (0, -84), (2, -86), (3, -86), (4, -86), (-2, -86), (-3, -86), (-4, -86), (6, -85), (-6, -85),
        (2, -81), (-2, -81), (12, -72), (-12, -72), (15, -55), (-15, -55), (17, -38), (-17, -38),
        (18, -34), (-18, -34), (17, -33), (-17, -33), (16, -35), (-16, -35), (8, -43), (-8, -43),
        (8, -22), (-8, -22), (8, -3), (-8, -3), (7, 0), (-7, 0), (11, 1), (-11, 1),
    ],
    np.float32,
)  # fmt: skip
"""A person about 90 pixels tall whose feet stand on the origin."""


def detection(x: float, y: float, scale: float = 1.0) -> BodyDetection:
    points = STANDING * scale + (x, y)
    keypoints = np.column_stack([points, np.ones(33)]).astype(np.float32)
    mask = np.zeros((240, 320), np.float32)
    drawn = np.zeros((240, 320), bool)
    limbs(keypoints, frame_size=(240, 320)).paint(drawn)
    mask[drawn] = 1.0
    return BodyDetection(
        keypoints_33x3=keypoints,
        world_33x3=np.zeros((33, 3), np.float32),
        corner=(0, 0),
        mask_hw=mask,
        score=1.0,
    )


def seen(x: float, y: float = 200, scale: float = 1.0) -> BodyObservation:
    return to_observation(detection(x, y, scale), height=240, width=320)


def test_a_body_of_another_size_is_not_the_person() -> None:
    track = BodyTrack(track_id=0, observations=Observations({frame: seen(100 + frame) for frame in range(3)}))
    assert not track.is_consistent(seen(104, scale=0.5), 3)
    assert track.is_consistent(seen(104), 3)


def test_two_sightings_of_one_body_are_one() -> None:
    assert same_body(seen(100), seen(102))
    assert not same_body(seen(100), seen(200))


def test_what_is_out_of_sight_makes_nobody_another_size() -> None:
    """A close-up shows no hips: how tall its person is is a guess, which differs from frame to frame."""
    track = BodyTrack(track_id=0, observations=Observations({frame: seen(100) for frame in range(3)}))
    guessed = seen(100, scale=0.65)
    guessed.keypoints_33x3[[23, 24], 2] = 0.1
    guessed = dataclasses.replace(guessed, area=track.observations[0].area)
    assert not track.is_consistent(dataclasses.replace(seen(100, scale=0.65), area=guessed.area), 3)
    assert track.is_consistent(guessed, 3)
    assert not track.is_consistent(dataclasses.replace(guessed, area=guessed.area // 3), 3)


def test_a_gap_is_filled_on_the_straight_line() -> None:
    track = BodyTrack(track_id=0, observations=Observations({10: seen(100), 14: seen(140)}))
    keypoints, _, patches = interpolate(track, 11)
    np.testing.assert_allclose(keypoints[:, 0], STANDING[:, 0] + 110, atol=1e-3)
    assert (keypoints[:, 2] < 1).all()
    filled = union(patches)
    truth = crop_to_content(detection(110, 200).mask_hw > 0)
    covered = Patch(truth.corner, np.zeros_like(truth.mask_hw))
    filled.paint_into(covered)
    assert (covered.mask_hw & truth.mask_hw).sum() > 0.97 * truth.mask_hw.sum()


@pytest.mark.parametrize("radius", [1.0, 2.5, 7.0])
def test_growing_is_dilation_by_a_disc(radius: float) -> None:
    rng = np.random.default_rng(0)
    mask = np.zeros((60, 70), bool)
    mask[20:30, 25:40] = rng.random((10, 15)) > 0.7
    grown = np.zeros_like(mask)
    dilate_patch(crop_to_content(mask), radius).paint(grown)
    exact = scipy.ndimage.distance_transform_edt(~mask) <= radius
    assert (grown ^ exact).sum() <= 0.01 * exact.sum()  # OpenCV's 5×5 distance is approximate


def test_height_does_not_shrink_with_the_pose() -> None:
    upright = np.column_stack([STANDING, np.ones(33)])
    crouching = upright.copy()
    crouching[25:, 1] -= 25  # the thighs and shins come up
    assert body_height(crouching) > 0.7 * body_height(upright)
    assert body_height(3 * upright) == pytest.approx(3 * body_height(upright))


def test_a_small_skeleton_inside_a_person_is_dropped() -> None:
    track = BodyTrack(track_id=0, observations=Observations({frame: seen(100) for frame in range(9)}))
    track.observations[4] = seen(100, y=150, scale=0.5)
    track.drop_outliers()
    assert sorted(track.observations) == [0, 1, 2, 3, 5, 6, 7, 8]


def test_a_jump_there_and_back_is_dropped_but_a_walk_is_not() -> None:
    track = BodyTrack(
        track_id=0, observations=Observations({frame: seen(60 + 10 * frame) for frame in range(9)})
    )
    track.observations[4] = seen(160)
    track.drop_outliers()
    assert sorted(track.observations) == [0, 1, 2, 3, 5, 6, 7, 8]


@pytest.mark.parametrize("end", [0, 8])
def test_a_jump_at_an_end_is_dropped_but_a_run_is_not(end: int) -> None:
    track = BodyTrack(
        track_id=0, observations=Observations({frame: seen(60 + 2 * frame) for frame in range(9)})
    )
    track.observations[end] = seen(60 + 2 * end + (20 if end else -20))
    track.drop_outliers()
    assert sorted(track.observations) == [frame for frame in range(9) if frame != end]
    running = BodyTrack(
        track_id=0, observations=Observations({frame: seen(60 + 15 * frame) for frame in range(9)})
    )
    running.drop_outliers()
    assert sorted(running.observations) == list(range(9))


def test_nobody_turns_around_between_two_frames() -> None:
    """Noses say of each half that it is named rightly, and the bodies between them say that one is not."""
    right = [facing(100 + 2 * frame, away=False) for frame in range(24)]
    track = BodyTrack(track_id=0)
    for frame, body in enumerate(right):
        track.observations[frame] = facing(100 + 2 * frame, away=True) if frame < 7 else body
    track.fix_left_right()
    for frame, body in enumerate(right):
        np.testing.assert_array_equal(track.observations[frame].keypoints_33x3, body.keypoints_33x3)


def test_a_drawn_body_covers_hands_hair_and_floor() -> None:
    keypoints = detection(160, 200).keypoints_33x3
    drawn = np.zeros((240, 320), bool)
    limbs(keypoints, frame_size=(240, 320)).paint(drawn)
    for x, y in [*keypoints[:, :2].astype(int), (160, 109), (166, 201), (143, 168)]:
        assert drawn[y, x]
    assert drawn.mean() < 0.1


def test_a_drawn_body_outside_the_frame_is_empty() -> None:
    assert limbs(detection(1000, 200).keypoints_33x3, frame_size=(240, 320)).mask_hw.size == 0


def test_left_and_right_do_not_change_places() -> None:
    track = BodyTrack(track_id=0)
    for frame in range(12):
        track.observations[frame] = seen(100 + 2 * frame)
    right = {frame: track.observations[frame].keypoints_33x3.copy() for frame in track.observations}
    masks = {frame: track.observations[frame].mask for frame in track.observations}
    for frame in range(3, 8):  # a front taken for a back, with less confidence
        track.observations[frame].keypoints_33x3[:] = track.observations[frame].keypoints_33x3[OTHER_SIDE]
        track.observations[frame].keypoints_33x3[:, 2] = 0.8
    track.fix_left_right()
    for frame, points in right.items():
        np.testing.assert_allclose(track.observations[frame].keypoints_33x3[:, :2], points[:, :2])
        assert track.observations[frame].mask == masks[frame]


def test_a_person_may_turn_around() -> None:
    track = BodyTrack(track_id=0)
    for frame in range(13):
        track.observations[frame] = seen(100)
        width = np.cos(np.pi * frame / 12)  # from the front over the profile to the back
        points = track.observations[frame].keypoints_33x3
        points[:, 0] = 100 + width * (points[:, 0] - 100)
    turned = [track.observations[frame].keypoints_33x3.copy() for frame in range(13)]
    track.fix_left_right()
    np.testing.assert_array_equal([track.observations[frame].keypoints_33x3 for frame in range(13)], turned)


def facing(frame_x: float, *, away: bool) -> BodyObservation:
    """A person who faces the camera or turns away from it, with consistent 3-D landmarks."""
    body = seen(frame_x)
    width, ahead = (-0.18, 0.15) if away else (0.18, -0.15)
    world = np.zeros((33, 3))
    world[11], world[12] = (width, -0.5, 0), (-width, -0.5, 0)
    world[0] = (0, -0.65, ahead)
    points = body.keypoints_33x3.copy()
    return replace(body, keypoints_33x3=points[OTHER_SIDE] if away else points, world_33x3=world)


def test_a_nose_behind_the_shoulders_tells_a_back_from_a_front() -> None:
    """The network takes a back for a front at first, and no jump in between tells that it was wrong."""
    right = [facing(100 + 2 * frame, away=True) for frame in range(30)]
    track = BodyTrack(track_id=0)
    for frame, body in enumerate(right):
        wrong = frame < 12
        track.observations[frame] = replace(
            body,
            keypoints_33x3=body.keypoints_33x3[OTHER_SIDE] if wrong else body.keypoints_33x3,
            # The sides are wrong in space, too, and the nose is where it was.
            world_33x3=body.world_33x3[OTHER_SIDE] if wrong else body.world_33x3,
        )
    between = track.observations[12].keypoints_33x3.copy()
    between[:, 0] = between[:, 0].mean()
    track.observations[12] = replace(track.observations[12], keypoints_33x3=between)
    assert (
        nose_ahead(track.observations[3].world_33x3)
        < -0.1
        < 0.1
        < nose_ahead(track.observations[20].world_33x3)
    )
    track.fix_left_right()
    for frame in (0, 5, 11, 13, 29):
        np.testing.assert_array_equal(track.observations[frame].keypoints_33x3, right[frame].keypoints_33x3)
        assert nose_ahead(track.observations[frame].world_33x3) > 0.1


def test_a_glance_over_the_shoulder_turns_nobody_around() -> None:
    track = BodyTrack(track_id=0)
    for frame in range(20):
        body = facing(100, away=False)
        if 8 <= frame < 12:
            body.world_33x3[0, 2] = 0.1
        track.observations[frame] = body
    track.fix_left_right()
    np.testing.assert_array_equal(
        track.observations[9].keypoints_33x3, facing(100, away=False).keypoints_33x3
    )
