"""Flow from neighbouring frames shows the background behind a person, and no masked pixel."""

import itertools
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from raymaskdp.anonymize.background.flow_fill import FlowFill
from raymaskdp.anonymize.background.inpaint import fill

HEIGHT, WIDTH, FRAMES = 72, 96, 14


def scenery(seed: int, size: tuple[int, int] = (72, 180)) -> np.ndarray:
    rough = np.random.default_rng(seed).integers(30, 220, (size[0] // 6, size[1] // 6, 3), np.uint8)
    return cv2.resize(rough, size[::-1], interpolation=cv2.INTER_CUBIC)


def shot(index: int, person: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A camera on rails: a floor that passes faster than the wall, and a person faster than both."""
    wall = scenery(1)[:, index : index + WIDTH]
    floor = scenery(2)[:, 2 * index : 2 * index + WIDTH]
    clean = np.vstack([wall[:48], floor[48:]])
    mask = np.zeros((HEIGHT, WIDTH), bool)
    left = 60 - 4 * index
    mask[14:64, max(0, left) : left + 14] = True
    frame = clean.copy()
    frame[mask] = np.random.default_rng(person).integers(0, 255, (np.count_nonzero(mask), 3))
    return frame, mask, clean


def frames(person: int, start: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    return (shot(index, person)[:2] for index in range(start, FRAMES))


def test_what_neighbours_show_is_better_than_what_is_made_up() -> None:
    flow = FlowFill(lambda start: frames(3, start), "rows")
    errors, made_up = [], []
    for index in range(FRAMES):
        frame, mask, clean = shot(index, 3)
        filled, surviving = flow.at(index)
        assert surviving == 0
        np.testing.assert_array_equal(filled[~mask], frame[~mask])
        errors.append((filled.astype(float) - clean)[mask] ** 2)
        made_up.append((fill(frame, mask, "rows").astype(float) - clean)[mask] ** 2)
    better, worse = (10 * np.log10(255**2 / np.concatenate(some).mean()) for some in (errors, made_up))
    assert better > worse + 4


def test_nothing_under_any_mask_counts_and_any_frame_may_be_the_first() -> None:
    """Another person under the masks, requested from the middle on: bit-identical."""
    one, other = (FlowFill(lambda start, p=person: frames(p, start), "rows") for person in (3, 4))
    whole = [one.at(index)[0] for index in range(FRAMES)]
    for index in range(6, FRAMES):
        mask = shot(index, 3)[1]
        np.testing.assert_array_equal(other.at(index)[0][mask], whole[index][mask])


def test_what_is_mixed_from_masked_pixels_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raymaskdp.anonymize.background.flow_fill._FOOTPRINT", 0)
    flow = FlowFill(lambda start: frames(3, start), "rows")
    assert sum(flow.at(index)[1] for index in range(4, 8)) > 0


def panned(index: int) -> tuple[np.ndarray, np.ndarray]:
    """A camera that turns by a pixel per frame, and a person in the middle of every frame."""
    frame = np.ascontiguousarray(scenery(1)[:, 3 * index : 3 * index + WIDTH])
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[10:62, 24:72] = True
    return frame, mask


def test_what_is_made_up_is_steady() -> None:
    """It changes less from frame to frame, in the place of the scene, than what each frame makes up."""
    shown = [panned(index) for index in range(24)]
    flow = FlowFill(lambda start: iter(shown[start:]), "telea")
    inner = np.s_[20:52, 36:60]
    changes = {}
    for name, filled in (
        ("flow", [flow.at(index)[0] for index in range(24)]),
        ("each", [fill(frame, mask, "telea") for frame, mask in shown]),
    ):
        steps = [
            np.abs(np.roll(before.astype(float), -3, axis=1) - after)[inner].mean()
            for before, after in itertools.pairwise(filled[6:18])
        ]
        changes[name] = np.mean(steps)
    assert changes["flow"] < 0.6 * changes["each"]


def test_nothing_is_carried_across_a_cut() -> None:
    """Behind a cut from a red room to a blue one nothing of the red one is seen."""
    shown = []
    for index in range(16):
        frame, mask = panned(index)
        frame = frame.copy()
        frame[..., 2 if index < 8 else 0] = 0  # no blue before the cut, no red behind it
        if index >= 8:
            frame = np.ascontiguousarray(frame[::-1, ::-1])
        shown.append((frame, mask))
    flow = FlowFill(lambda start: iter(shown[start:]), "rows")
    for index in (5, 7, 8, 10):
        filled, surviving = flow.at(index)
        assert surviving == 0
        assert filled[..., 2 if index < 8 else 0].max() <= 2
