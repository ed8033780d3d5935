"""Packing is exact, and dilation is the set of pixels within a distance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymaskdp.video.masks import bridge, dilate, empty, pack, unpack


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
