"""The background of a moving camera: right where it was seen, blind under masks, or refused."""

from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from raymaskdp.anonymize.background.config import PlateConfig
from raymaskdp.anonymize.background.mosaic import Mosaic, find_mosaic

HEIGHT, WIDTH, FRAMES = 96, 128, 16


def scenery(seed: int) -> np.ndarray:
    """Blots of colour, larger than any frame."""
    rough = np.random.default_rng(seed).integers(30, 220, (30, 40, 3), np.uint8)
    return cv2.resize(rough, (320, 240), interpolation=cv2.INTER_CUBIC)


def turning(index: int) -> np.ndarray:
    """From the scenery to frame `index`: a pan of 20 pixels and some roll."""
    angle = np.deg2rad(2 * np.sin(index / 3))
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    return turn @ np.array([[1, 0, -60 - 20 * index / FRAMES], [0, 1, -60], [0, 0, 1]], np.float64)


def shot(index: int, person: int, *, depth: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A frame with a walking person of colours `person`, the mask, and the frame without people.

    With `depth`, things on a lattice are nearer than the rest and pass it by so many pixels a frame.
    """
    size = (WIDTH, HEIGHT)
    clean = cv2.warpPerspective(scenery(1), turning(index), size, flags=cv2.INTER_AREA)
    if depth:
        passed = np.array([[1, 0, -depth * index], [0, 1, 0], [0, 0, 1]])
        near = cv2.warpPerspective(scenery(2), passed @ turning(index), size)
        lattice = np.indices((240, 320)).sum(axis=0) // 24 % 2
        where = cv2.warpPerspective(lattice.astype(np.uint8), passed @ turning(index), size)
        clean = np.where(where[..., None] > 0, near, clean)
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[20:90, 6 * index + 8 : 6 * index + 24] = True
    frame = (clean * (0.9 + 0.2 * index / FRAMES)).clip(0, 255).astype(np.uint8)  # it gets lighter
    frame[mask] = np.random.default_rng(person).integers(0, 255, (np.count_nonzero(mask), 3))
    return frame, mask, clean


def mosaic(person: int, *, depth: float = 0.0) -> Mosaic | str:
    def frames() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return (shot(index, person, depth=depth)[:2] for index in range(FRAMES))

    return find_mosaic(frames, height=HEIGHT, width=WIDTH, config=PlateConfig())


@pytest.fixture(scope="module")
def found() -> Mosaic:
    made = mosaic(3)
    assert isinstance(made, Mosaic), made
    return made


def test_what_a_person_uncovers_is_found(found: Mosaic) -> None:
    """In the removed region, in the light of the first frame, better than 28 dB."""
    errors = []
    for index in range(FRAMES):
        _, mask, clean = shot(index, 3)
        errors.append((found.at(index).astype(float) - 0.9 * clean)[mask] ** 2)
    assert 10 * np.log10(255**2 / np.concatenate(errors).mean()) > 28
    assert found.never_observed < 0.15


def test_masked_pixels_have_no_influence(found: Mosaic) -> None:
    """Another person under the masks: bit-identical homographies and plate."""
    other = mosaic(4)
    assert isinstance(other, Mosaic)
    np.testing.assert_array_equal(found.onto_T33, other.onto_T33)
    np.testing.assert_array_equal(found.plate.color_HW3, other.plate.color_HW3)
    assert found.surviving == other.surviving == 0


def test_values_mixed_from_masked_ones_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the neighbours of a mask used, the count would show it."""
    monkeypatch.setattr("raymaskdp.anonymize.background.mosaic._FOOTPRINT", 0)
    leaky = mosaic(3)
    assert isinstance(leaky, Mosaic)
    assert leaky.surviving > 0


def test_a_camera_that_is_carried_through_a_deep_scene_is_refused() -> None:
    refused = mosaic(3, depth=1.5)
    assert isinstance(refused, str)
    assert "fits no turn" in refused
