"""BoxDetections that a detector names stay where they are, unless people may sit or lie in their boxes."""

import numpy as np

from raymaskdp.anonymize.compose.kept_objects import thing_film
from raymaskdp.anonymize.people.networks.nanodet import PERSON, BoxDetections
from raymaskdp.video.masks import unpack

TABLE, CUP, MOTORCYCLE, HORSE = 60, 41, 3, 17
HEIGHT, WIDTH = 60, 80


def look(*seen: tuple[int, float, tuple[float, float, float, float]]) -> BoxDetections:
    return BoxDetections(
        boxes_N4=np.array([box for *_, box in seen], np.float32).reshape(-1, 4),
        score_N=np.array([score for _, score, _ in seen], np.float32),
        class_N=np.array([kind for kind, *_ in seen], int),
    )


def covered(things: dict[int, BoxDetections], num_frames: int) -> np.ndarray:
    """Share of the picture that is a thing, by frame."""
    film = thing_film(things, num_frames, HEIGHT, WIDTH)
    return np.array([unpack(np.asarray(film[i]), HEIGHT, WIDTH).mean() for i in range(num_frames)])


BOX = (20.0, 20.0, 50.0, 40.0)


def test_what_a_detector_names_is_a_thing() -> None:
    assert covered({0: look((CUP, 0.5, BOX))}, 1)[0] > 0.1
    assert covered({0: look((CUP, 0.2, BOX))}, 1)[0] == 0


def test_furniture_vehicles_and_large_things_may_have_somebody_in_them() -> None:
    assert covered({0: look((TABLE, 0.9, BOX))}, 1)[0] == 0
    assert covered({0: look((MOTORCYCLE, 0.9, BOX), (HORSE, 0.9, BOX))}, 1)[0] == 0
    assert covered({0: look((CUP, 0.9, (10.0, 10.0, 60.0, 50.0)))}, 1)[0] == 0


def test_people_are_no_things() -> None:
    assert covered({at: look((PERSON, 0.9, BOX)) for at in range(3)}, 3).max() == 0


def test_a_thing_moves_evenly_between_two_looks() -> None:
    later = (30.0, 20.0, 60.0, 40.0)
    film = thing_film({0: look((CUP, 0.5, BOX)), 2: look((CUP, 0.5, later))}, 3, HEIGHT, WIDTH)
    columns = [np.flatnonzero(unpack(np.asarray(film[i]), HEIGHT, WIDTH).any(0))[0] for i in range(3)]
    assert columns == [20, 25, 30]
