"""Detected parts of people outside all masks are doubts, where they touch a tracked person."""

import numpy as np

from raymaskdp.anonymize.people.networks.nanodet import BoxDetections
from raymaskdp.anonymize.people.people import Person
from raymaskdp.anonymize.people.uncovered import uncovered_parts
from raymaskdp.video.masks import pack

HEIGHT, WIDTH, FRAMES = 60, 100, 4


def somebody(x0: int, y0: int, x1: int, y1: int) -> Person:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y0:y1, x0:x1] = True
    nowhere = np.full((FRAMES, 33, 3), np.nan, np.float32)
    return Person(
        track_id=0,
        visible_T=np.ones(FRAMES, bool),
        detected_T=np.ones(FRAMES, bool),
        keypoints_TL3=nowhere,
        world_TL3=nowhere,
        masks_T=np.tile(pack(mask), (FRAMES, 1)),
    )


def seen(box: tuple[float, ...], score: float = 0.5, kind: int = 0) -> dict[int, BoxDetections]:
    one = BoxDetections(
        boxes_N4=np.array([box], np.float32),
        score_N=np.array([score], np.float32),
        class_N=np.array([kind]),
    )
    return {0: one, 2: one}


def doubted(things: dict[int, BoxDetections], *persons: Person) -> list[int]:
    doubts = uncovered_parts(persons, things, num_frames=FRAMES, height=HEIGHT, width=WIDTH)
    assert all(doubt.is_part for doubt in doubts)
    return [doubt.frame for doubt in doubts]


TORSO = somebody(50, 0, 90, 60)
ARM = (10.0, 10.0, 60.0, 25.0)


def test_an_arm_beside_the_mask_is_a_doubt_until_the_next_look() -> None:
    assert doubted(seen(ARM), TORSO) == [0, 1, 2, 3]


def test_what_the_mask_hides_is_none() -> None:
    assert doubted(seen((52.0, 10.0, 88.0, 25.0)), TORSO) == []
    assert doubted(seen(ARM), TORSO, somebody(10, 10, 50, 25)) == []


def test_a_whole_person_who_fills_little_of_the_box_is_none() -> None:
    """A person with outstretched arms is followed, and the mask is not the box."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[10:14, 5:95] = mask[5:60, 45:55] = True
    thin = somebody(0, 0, 1, 1)
    thin = Person(**{**vars(thin), "masks_T": np.tile(pack(mask), (FRAMES, 1))})
    assert doubted(seen((5.0, 5.0, 95.0, 60.0)), thin) == []


def test_what_touches_nobody_or_is_faint_or_no_person_is_none() -> None:
    assert doubted(seen((0.0, 40.0, 30.0, 55.0)), TORSO) == []
    assert doubted(seen(ARM, score=0.2), TORSO) == []
    assert doubted(seen(ARM, kind=41), TORSO) == []
