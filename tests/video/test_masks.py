"""Packing is exact, and dilation is the set of pixels within a distance."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymaskdp.video.mask_film import MaskFilm, bridge, union, write_npz
from raymaskdp.video.masks import dilate, empty, pack, unpack


@given(height=st.integers(1, 20), width=st.integers(1, 20), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=50)
def test_unpack_inverts_pack(height: int, width: int, seed: int) -> None:
    mask_THW = np.random.default_rng(seed).random((3, height, width)) < 0.5
    packed = pack(mask_THW)
    assert packed.shape == empty(3, height, width).shape == (3, -(-height * width // 8))
    np.testing.assert_array_equal(unpack(packed, height, width), mask_THW)
    np.testing.assert_array_equal(unpack(packed[1], height, width), mask_THW[1])


@pytest.mark.parametrize("radius", [0.0, 1.0, 2.5, 7.0])
def test_dilation_is_euclidean(radius: float) -> None:
    mask = np.zeros((30, 40), bool)
    mask[5, 7] = mask[20, 39] = mask[29, 0] = True
    y, x = np.mgrid[:30, :40]
    points = np.argwhere(mask)
    nearest = np.sqrt(np.square(np.stack([y, x], -1)[:, :, None] - points).sum(-1)).min(-1)
    np.testing.assert_array_equal(dilate(mask, radius), nearest <= radius)
    assert not dilate(np.zeros((5, 5), bool), radius).any()


@given(reach=st.integers(0, 8), num_frames=st.integers(1, 12), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=50)
def test_bridge_fills_short_gaps_only(reach: int, num_frames: int, seed: int) -> None:
    mask_THW = np.random.default_rng(seed).random((num_frames, 3, 5)) < 0.3
    found = unpack(bridge(pack(mask_THW), reach), 3, 5)
    for t in range(num_frames):
        before = mask_THW[max(0, t - reach) : t + 1].any(0)
        after = mask_THW[t : t + reach + 1].any(0)
        np.testing.assert_array_equal(found[t], before & after)


def test_films_hold_what_was_put_in() -> None:
    rng = np.random.default_rng(0)
    masks_TB = pack(rng.random((7, 9, 13)) < 0.1)
    masks_TB[3] = 0
    film = MaskFilm.of(masks_TB)
    np.testing.assert_array_equal(np.asarray(film), masks_TB)
    np.testing.assert_array_equal(film.any_T(), masks_TB.any(1))
    np.testing.assert_array_equal(np.asarray(MaskFilm.unpacked(*film.packed(), masks_TB.shape[1])), masks_TB)
    np.testing.assert_array_equal(
        np.asarray(union([film, masks_TB[::-1]], *masks_TB.shape)), masks_TB | masks_TB[::-1]
    )
    assert not union([], *masks_TB.shape).any_T().any()
    film[0] = film[3]
    assert not film.any_T()[0]
    with pytest.raises(ValueError, match="bytes"):
        film[0] = np.zeros(3, np.uint8)


def test_npz_of_films_is_that_of_arrays(tmp_path: Path) -> None:
    masks_TB = pack(np.random.default_rng(0).random((7, 9, 13)) < 0.1)
    write_npz(tmp_path / "film.npz", {"masks": MaskFilm.of(masks_TB), "fps": np.float64(12.5)})
    np.savez_compressed(tmp_path / "array.npz", masks=masks_TB, fps=np.float64(12.5))
    assert (tmp_path / "film.npz").read_bytes() == (tmp_path / "array.npz").read_bytes()


def test_an_hour_of_masks_is_small() -> None:
    """A person who walks through 1920×1080 pixels: a frame in three hundred bytes, not 259 000."""
    film = MaskFilm(60, 1920 * 1080 // 8)
    for frame in range(60):
        mask_HW = np.zeros((1080, 1920), np.uint8)
        cv2.ellipse(mask_HW, (300 + 20 * frame, 500), (90, 260), 10, 0, 360, 1, -1)
        film[frame] = pack(mask_HW.astype(bool))
    assert len(film.packed()[0]) / 60 < 4000
