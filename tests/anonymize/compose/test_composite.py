"""Inside a mask nothing of the source survives; outside, nothing but the source is seen."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymaskdp.anonymize.background.config import PlateConfig
from raymaskdp.anonymize.background.leakage import erase, surviving_pixels
from raymaskdp.anonymize.compose.composite import backdrop, changed, overlay
from raymaskdp.anonymize.compose.config import CompositeConfig
from raymaskdp.anonymize.compose.synthesis.drawn import empty
from raymaskdp.video.masks import dilate

HEIGHT, WIDTH = 48, 64


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def blob(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mask = np.zeros((HEIGHT, WIDTH), bool)
    for _ in range(int(rng.integers(0, 4))):
        y, x = rng.integers(0, HEIGHT), rng.integers(0, WIDTH)
        mask[y : y + rng.integers(1, 20), x : x + rng.integers(1, 20)] = True
    return mask


@given(seed=st.integers(0, 10_000), feather=st.floats(0, 12))
@settings(deadline=None, max_examples=60)
def test_masked_source_has_no_influence(seed: int, feather: float) -> None:
    frame, plate, mask = picture(seed), picture(seed + 1), blob(seed)
    config = CompositeConfig(feather_px=feather)
    other = frame.copy()
    other[mask] = picture(seed + 2)[mask]
    first, second = (backdrop(source, mask, plate, config) for source in (frame, other))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first[mask], plate[mask])
    far = ~dilate(mask, feather + 1)
    np.testing.assert_array_equal(first[far], frame[far])


@given(seed=st.integers(0, 10_000), fixed=st.booleans(), fill=st.sampled_from(["rows", "telea"]))
@settings(deadline=None, max_examples=60)
def test_the_whole_step_is_blind_under_masks(seed: int, fixed: bool, fill: str) -> None:
    """Light matching, motion patches, fills and seams together: what a mask covers changes nothing."""
    plate = picture(7) // 2 + 60
    frame = np.clip(plate + np.random.default_rng(seed).normal(0, 12, plate.shape), 0, 255).astype(np.uint8)
    mask = blob(seed)
    frame[mask] = picture(seed)[mask]
    other = frame.copy()
    other[mask] = picture(seed + 2)[mask]
    behind = plate if fixed else None
    config = CompositeConfig(change_area=0.001)
    first, second = (empty(source, mask, behind, PlateConfig(fill=fill), config) for source in (frame, other))
    np.testing.assert_array_equal(first.frame_HW3, second.frame_HW3)
    np.testing.assert_array_equal(first.removed_HW, second.removed_HW)


def test_survivors_are_counted() -> None:
    """The count finds a composite that leaks, at exactly the pixels that leak."""
    frame, plate, mask = picture(0), picture(1), np.zeros((HEIGHT, WIDTH), bool)
    mask[10:30, 10:30] = True

    def honest(source: np.ndarray) -> np.ndarray:
        return backdrop(source, mask, plate, CompositeConfig())

    def leaky(source: np.ndarray) -> np.ndarray:
        out = honest(source)
        out[12:15, 12:14] = source[12:15, 12:14]
        return out

    def faint(source: np.ndarray) -> np.ndarray:
        out = honest(source)
        out[20, 20] = out[20, 20] // 2 + source[20, 20] // 8
        return out

    assert surviving_pixels(honest, frame, mask, honest(frame)) == 0
    assert surviving_pixels(leaky, frame, mask, leaky(frame)) == 6
    assert surviving_pixels(faint, frame, mask, faint(frame)) == 1


def test_a_missed_hand_is_removed_and_noise_is_kept() -> None:
    plate = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    rng = np.random.default_rng(0)
    frame = np.clip(plate + rng.normal(0, 4, plate.shape), 0, 255).astype(np.uint8)
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[10:40, 20:30] = True
    frame[mask] = 255
    frame[20:24, 30:36] = (220, 170, 150)  # a hand that sticks out of the mask
    found = changed(frame, plate, mask, CompositeConfig())
    assert found[20:24, 30:36].all()
    assert not found[:, :15].any()
    assert not found[:, 45:].any()
    without = np.where(mask[..., None], frame, plate)
    assert not changed(without, plate, mask, CompositeConfig()).any()


def shadowed(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A floor, a frame of it with a person and a soft shadow, the mask, and the shadow's depth [H, W]."""
    rng = np.random.default_rng(seed)
    plate = np.clip(rng.normal((120, 100, 80), 6, (120, 160, 3)), 0, 255).astype(np.uint8)
    mask = np.zeros((120, 160), bool)
    mask[30:90, 40:60] = True
    cast = np.zeros((120, 160), np.float32)
    cast[78:92, 52:110] = 0.2
    depth = cv2.GaussianBlur(cast, (0, 0), 3)
    frame = np.clip(plate * (1 - depth[..., None]) + rng.normal(0, 2, plate.shape), 0, 255).astype(np.uint8)
    frame[mask] = 255
    return plate, frame, mask, depth


def test_a_soft_shadow_goes_with_who_throws_it() -> None:
    """One of 20 levels, which is less than anything else that is removed."""
    plate, frame, mask, depth = shadowed()
    config = CompositeConfig()
    assert 100 * depth.max() < config.change_level
    found = changed(frame, plate, mask, config)
    assert found[(depth > 0.06) & ~mask].all()
    left = backdrop(frame, mask | found, plate, config).astype(float) - plate
    assert left[depth > 0.02].mean() > -1  # it was 12 levels darker on average
    assert not changed(frame, plate, mask, CompositeConfig(keep_objects="all")).any()
    assert not changed(frame, plate, mask, CompositeConfig(max_shade=0.01)).any()


def test_other_darkness_is_no_shadow() -> None:
    """Shade far from anybody stays, and so does one that takes one colour more than another."""
    plate, frame, mask, depth = shadowed()
    away = np.roll(mask, (-20, 70), axis=(0, 1))
    frame[mask] = plate[mask] * (1 - depth[mask][:, None])
    assert not changed(frame, plate, away & (depth < 0.001), CompositeConfig()).any()
    tinted = np.clip(plate * (1 - depth[..., None] * [0.3, 1.0, 1.0]), 0, 255).astype(np.uint8)
    assert not changed(tinted, plate, mask, CompositeConfig()).any()


def test_avatars_cover_and_soften_inwards() -> None:
    behind, avatar = picture(0), np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    coverage = np.zeros((HEIGHT, WIDTH), bool)
    coverage[10:40, 20:50] = True
    avatar[coverage] = (10, 200, 30)
    out = overlay(behind, avatar, coverage, CompositeConfig())
    np.testing.assert_array_equal(out[~coverage], behind[~coverage])
    np.testing.assert_array_equal(out[15:35, 25:45], avatar[15:35, 25:45])
    np.testing.assert_array_equal(overlay(behind, avatar, coverage, CompositeConfig(soften_px=0)),
                                  np.where(coverage[..., None], avatar, behind))  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_erase_leaves_the_argument_alone(seed: int) -> None:
    frame, mask = picture(seed), blob(seed)
    before = frame.copy()
    assert (erase(frame, mask)[mask] == 0).all()
    np.testing.assert_array_equal(frame, before)


def test_held_objects_stay_only_where_that_was_asked_for() -> None:
    plate = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[10:40, 20:30] = True
    frame = plate.copy()
    frame[20:26, 30:36] = (20, 20, 160)  # a cup in the hand
    keeping = CompositeConfig(keep_objects="all")
    assert changed(frame, plate, mask, CompositeConfig())[20:26, 30:36].all()
    assert not changed(frame, plate, mask, keeping).any()
    kept = backdrop(frame, mask, plate, keeping)
    assert (kept[20:26, 36 - 1] == frame[20:26, 36 - 1]).all()
    named = np.zeros_like(mask)
    named[14:32, 20:46] = True  # the detector calls it a cup
    assert not changed(frame, plate, mask, CompositeConfig(), named)[named].any()
    assert changed(frame, plate, mask, CompositeConfig(keep_objects="none"), named)[20:26, 30:36].all()
    # The box lies over the person, too: nothing of the skin there may come along.
    skin = frame.copy()
    skin[mask] = (220, 170, 140)
    emptied = empty(skin, mask, plate, PlateConfig(), CompositeConfig(), named)
    assert emptied.removed_HW[mask].all()
    assert (
        np.abs(emptied.frame_HW3[mask].astype(int) - 120).max() <= 8
    )  # the plate, in the light of the frame
    assert (emptied.frame_HW3[22:24, 35] == frame[22:24, 35]).all()  # and the cup stays where it is
