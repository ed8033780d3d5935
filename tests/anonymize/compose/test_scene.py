"""People between analysis and synthesis: rungs that are held, doubts as masks, and silhouettes."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymaskdp.anonymize.compose.held_objects import HeldObjects, Solid
from raymaskdp.anonymize.compose.scene import HELD_S, Scene, doubt_film, steady_T
from raymaskdp.anonymize.compose.silhouettes import Silhouettes
from raymaskdp.anonymize.people.networks.nanodet import BoxDetections
from raymaskdp.anonymize.people.people import Doubt, People, Person, packed_size
from raymaskdp.bodies.avatar import draw_avatar
from raymaskdp.bodies.motion import Motion
from raymaskdp.bodies.skeleton import NUM_JOINTS
from raymaskdp.video import masks
from raymaskdp.video.mask_film import MaskFilm

H, W, T, FPS = 40, 60, 24, 12.0
HELD = round(HELD_S * FPS)


def stretches(flags_T: np.ndarray) -> list[tuple[int, int]]:
    """Begin and end of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags_T.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40), st.integers(1, 8))
def test_avatars_do_not_flicker_between_silhouettes(flags: list[tuple[bool, bool]], least: int) -> None:
    posed_T, visible_T = np.array(flags).T
    steady = steady_T(posed_T, visible_T, least)
    assert not (steady & ~(posed_T & visible_T)).any()
    for start, stop in stretches(steady):
        beside = [at for at in (start - 1, stop) if 0 <= at < len(steady) and visible_T[at]]
        assert stop - start >= least or not beside
    # The removed part was short, and beside a person's silhouette.
    for start, stop in stretches(posed_T & visible_T):
        if stop - start >= least:
            assert steady[start:stop].all()
    np.testing.assert_array_equal(steady_T(steady, visible_T, least), steady)


def person(visible_T: np.ndarray, masks_THW: np.ndarray) -> Person:
    return Person(
        track_id=0,
        visible_T=visible_T,
        detected_T=visible_T,
        keypoints_TL3=np.zeros((T, 33, 3), np.float32),
        world_TL3=np.zeros((T, 33, 3), np.float32),
        masks_T=masks.pack(masks_THW),
    )


def motion(posed_T: np.ndarray) -> Motion:
    return Motion(
        rotations_TJ3=np.zeros((T, NUM_JOINTS, 3), np.float32),
        translation_T3=np.tile(np.float32([0, 0, 3]), (T, 1)),
        visible_T=posed_T,
        betas_S=np.zeros(10, np.float32),
        camera_33=np.eye(3),
        track_id=0,
    )


def doubt(frame: int, *box: float) -> Doubt:
    return Doubt(frame=frame, reason="somebody", box=box)


def people(*doubts: Doubt, persons: tuple[Person, ...] = ()) -> People:
    return People(width=W, height=H, fps=FPS, num_frames=T, persons=persons, doubts=doubts)


def is_like(shown: np.ndarray, boxes: np.ndarray) -> bool:
    """Whether a mask is that of boxes whose corners are rounded."""
    return not (shown & ~boxes).any() and shown.sum() >= 0.85 * boxes.sum()


def test_a_doubt_holds_a_quarter_of_a_second_before_and_after() -> None:
    film, counts_T = doubt_film(
        people(doubt(10, 5, 6, 15, 26), doubt(10, 30, 0, 40, 10), doubt(12, 50, 30, 99, 99)), HELD
    )
    shown = masks.unpack(film, H, W)
    expected = np.zeros((T, H, W), bool)
    for frame, (x0, y0, x1, y1) in ((10, (5, 6, 15, 26)), (10, (30, 0, 40, 10)), (12, (50, 30, 99, 99))):
        expected[frame - HELD : frame + HELD + 1, y0:y1, x0:x1] = True
    assert is_like(shown, expected)
    assert counts_T[[10, 11, 12]].tolist() == [2, 1, 1]
    np.testing.assert_array_equal(counts_T > 0, expected.any((1, 2)))


def test_doubts_at_the_ends_stay_in_the_video() -> None:
    film, counts_T = doubt_film(people(doubt(0, -5, -5, 8, 8), doubt(T - 1, 0, 0, W, H)), HELD)
    assert np.flatnonzero(counts_T).tolist() == [*range(HELD + 1), *range(T - 1 - HELD, T)]
    upper_left = np.zeros((H, W), bool)
    upper_left[:8, :8] = True
    assert is_like(masks.unpack(film[0], H, W), upper_left)
    assert is_like(masks.unpack(film[T - 1], H, W), np.ones((H, W), bool))


def test_a_scene_removes_doubts_and_survives_being_packed() -> None:
    visible_T = np.ones(T, bool)
    posed_T = visible_T.copy()
    posed_T[8:11] = False
    body = np.zeros((T, H, W), bool)
    body[:, 10:30, 5:15] = True
    cup = BoxDetections(
        boxes_N4=np.float32([[13, 18, 19, 24]]), score_N=np.float32([0.8]), class_N=np.array([41])
    )
    given = dataclasses.replace(
        people(doubt(12, 40, 10, 50, 20), persons=(person(visible_T, body),)),
        things=dict.fromkeys(range(T), cup),
    )
    unseen_T = np.arange(T, dtype=np.uint8) % 3
    scene = Scene.of(given, [dataclasses.replace(motion(posed_T), unseen_T=unseen_T)])
    for one in (scene, Scene.unpack(scene.pack())):
        assert [one.motions[0].unseen(index) for index in range(T)] == unseen_T.tolist()
        everybody = masks.unpack(one.dilated_masks(0.0), H, W)
        assert everybody[:, 10:30, 5:15].all()
        assert everybody[:, 20:23, 15:18].all()  # the cup in the person's hand, which is drawn instead
        assert [len(one.held.at(index)) for index in range(T)] == [1] * T
        assert everybody[12 - HELD : 13 + HELD, 12:18, 42:48].all()
        assert not everybody[12 + HELD + 1 :, 10:20, 40:50].any()
        assert one.doubts_T[12] == 1
        np.testing.assert_array_equal(one.motions[0].visible_T, posed_T)
        np.testing.assert_array_equal(one.visible_PT, visible_T[None])
    without = Scene.of(given, [motion(posed_T)], draw_held=False)
    assert not without.held.at(0)
    assert not masks.unpack(without.dilated_masks(0.0), H, W)[0, 20:23, 15:18].any()


def test_a_scene_without_people_survives_being_packed() -> None:
    scene = Scene.unpack(Scene.of(people(), []).pack())
    assert scene.num_frames == T
    assert not scene.dilated_masks(1.0).any_T().any()


@pytest.mark.parametrize(
    ("posed", "covered", "is_avatar"),
    [(True, 1.0, True), (True, 0.3, True), (True, 0.1, False), (True, 0.0, False), (False, 1.0, False)],
)
def test_who_has_no_avatar_is_a_silhouette(posed: bool, covered: float, is_avatar: bool) -> None:
    """An avatar that hardly covers a person does not replace them; nor does another person's avatar."""
    body = np.zeros((T, H, W), bool)
    body[:, 10:30, 5:25] = True
    given = people(persons=(person(np.ones(T, bool), body),))
    scene = Scene.of(given, [motion(np.full(T, posed))])
    avatar = draw_avatar(bytes(32), "a")
    drawn_HW = np.zeros((H, W), bool)
    drawn_HW[10 : 10 + round(20 * covered), 5:25] = True
    frame_HW3 = np.random.default_rng(0).integers(0, 256, (H, W, 3), np.uint8)
    before_HW3 = frame_HW3.copy()
    flat = Silhouettes(scene, [avatar], 0.2).over(frame_HW3, 3, drawn_HW)
    assert (flat.avatars, flat.silhouettes) == ((1, 0) if is_avatar else (0, 1))
    np.testing.assert_array_equal(flat.mask_HW, np.zeros((H, W), bool) if is_avatar else body[3])
    np.testing.assert_array_equal(frame_HW3, before_HW3)  # the backdrop is not painted on
    colour = np.rint(255 * np.array(avatar.top))
    assert (flat.frame_HW3[flat.mask_HW] == colour).all()
    np.testing.assert_array_equal(flat.frame_HW3[~flat.mask_HW], before_HW3[~flat.mask_HW])


def test_an_object_is_no_part_of_an_avatar() -> None:
    """A drawn ball before a person does not stand for the person's avatar."""
    body = np.zeros((T, H, W), bool)
    body[:, 10:30, 5:25] = True
    given = people(persons=(person(np.ones(T, bool), body),))
    ball = HeldObjects(
        frame_N=np.array([3]),
        solid_N=np.array([Solid.BALL]),
        boxes_N4=np.float32([[6, 11, 24, 29]]),
    )
    scene = dataclasses.replace(Scene.of(given, [motion(np.ones(T, bool))]), held=ball)
    drawn_HW = ball.mask(3, H, W)
    assert drawn_HW[body[3]].mean() > 0.5
    flat = Silhouettes(scene, [draw_avatar(bytes(32), "a")], 0.2).over(
        np.zeros((H, W, 3), np.uint8), 3, drawn_HW
    )
    assert (flat.avatars, flat.silhouettes) == (0, 1)


def test_who_is_not_there_is_nothing() -> None:
    body = np.ones((T, H, W), bool)
    hidden_T = np.ones(T, bool)
    hidden_T[5] = False
    scene = Scene.of(people(persons=(person(hidden_T, body),)), [motion(np.zeros(T, bool))])
    scene = dataclasses.replace(scene, doubts_TB=MaskFilm(T, packed_size(H, W)))
    flat = Silhouettes(scene, [draw_avatar(bytes(32), "a")], 0.2).over(
        np.zeros((H, W, 3), np.uint8), 5, np.zeros((H, W), bool)
    )
    assert (flat.avatars, flat.silhouettes, flat.mask_HW.any()) == (0, 0, False)
