"""Avatars that stand beside their person are left out; those that cover it stay."""

import dataclasses

import numpy as np
import pytest
from support.silhouette import silhouette

from raymaskdp.anonymize.compose.overlap import drop_misplaced_avatars
from raymaskdp.anonymize.people.people import People, Person
from raymaskdp.bodies.body import load_body
from raymaskdp.bodies.motion import Motion
from raymaskdp.video.masks import pack

WIDTH, HEIGHT, FRAMES = 320, 240, 30


@pytest.fixture(scope="module")
def motion() -> Motion:
    """A person standing 4 m in front of the camera."""
    rotations = np.zeros((FRAMES, 52, 3), np.float32)
    rotations[:, 0, 0] = np.pi  # y of the body is up, of the camera down
    rotations[:, 16, 2], rotations[:, 17, 2] = -1.2, 1.2  # arms hang
    body = load_body()
    betas = np.zeros(body.num_betas, np.float32)
    middle = body.rest_joints(betas)[0]
    return Motion(
        rotations_TJ3=rotations,
        translation_T3=np.tile(np.array([0, 0, 4], np.float32) - middle, (FRAMES, 1)),
        visible_T=np.ones(FRAMES, bool),
        betas_S=betas,
        camera_33=np.array([[300.0, 0, WIDTH / 2], [0, 300, HEIGHT / 2], [0, 0, 1]]),
        track_id=0,
    )


@pytest.fixture(scope="module")
def people(motion: Motion) -> People:
    """Whose outline is that of the body."""
    packed = np.tile(pack(silhouette(motion, 0, HEIGHT, WIDTH)), (FRAMES, 1))
    shape = (FRAMES, 33, 3)
    person = Person(
        track_id=0,
        visible_T=motion.visible_T,
        detected_T=motion.visible_T,
        keypoints_TL3=np.zeros(shape, np.float32),
        world_TL3=np.zeros(shape, np.float32),
        masks_T=packed,
        outlines_T=packed,
    )
    return People(width=WIDTH, height=HEIGHT, fps=30.0, num_frames=FRAMES, persons=(person,))


def moved(motion: Motion, metres: float, frames: slice = slice(None)) -> Motion:
    translation = motion.translation_T3.copy()
    translation[frames, 0] += metres
    return dataclasses.replace(motion, translation_T3=translation)


def test_an_avatar_on_its_person_stays(motion: Motion, people: People) -> None:
    for metres in (0.0, 0.05):
        (kept,) = drop_misplaced_avatars([moved(motion, metres)], people, load_body())
        assert kept.visible_T.all()


def test_an_avatar_beside_its_person_goes(motion: Motion, people: People) -> None:
    (kept,) = drop_misplaced_avatars([moved(motion, 0.6)], people, load_body())
    assert not kept.visible_T.any()


def test_one_upside_down_goes(motion: Motion, people: People) -> None:
    rotations = motion.rotations_TJ3.copy()
    rotations[:, 0] = 0
    turned = dataclasses.replace(motion, rotations_TJ3=rotations)
    translation = turned.translation_T3.copy()
    translation[:, 1] -= 0.9  # head down, but over the same place
    turned = dataclasses.replace(turned, translation_T3=translation)
    (kept,) = drop_misplaced_avatars([turned], people, load_body())
    assert not kept.visible_T.any()


def test_a_moment_beside_the_outline_is_forgiven(motion: Motion, people: People) -> None:
    (kept,) = drop_misplaced_avatars([moved(motion, 0.6, slice(10, 13))], people, load_body())
    assert kept.visible_T.all()


def test_without_an_outline_nothing_is_said(motion: Motion, people: People) -> None:
    blind = dataclasses.replace(people, persons=(dataclasses.replace(people.persons[0], outlines_T=None),))
    (kept,) = drop_misplaced_avatars([moved(motion, 5.0)], blind, load_body())
    assert kept.visible_T.all()
