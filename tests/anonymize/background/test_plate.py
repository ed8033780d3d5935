"""The plate knows nothing of what is under the masks, and is right where the background was seen."""

import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest

from raymaskdp.anonymize.background.background import find_background
from raymaskdp.anonymize.background.config import PlateConfig
from raymaskdp.anonymize.background.drift import CameraCheck
from raymaskdp.anonymize.background.inpaint import FILLS
from raymaskdp.anonymize.background.plate import PlateBuilder, lighting, relit
from raymaskdp.anonymize.compose.composite import changed
from raymaskdp.anonymize.compose.config import CompositeConfig
from raymaskdp.errors import UserError
from raymaskdp.video.masks import pack
from raymaskdp.video.reader import probe
from raymaskdp.video.writer import VideoWriter

HEIGHT, WIDTH = 72, 96


def room(seed: int = 0) -> np.ndarray:
    """A wall with pictures above a floor, uint8 [H, W, 3]."""
    rng = np.random.default_rng(seed)
    wall = np.full((HEIGHT, WIDTH, 3), 180, np.uint8)
    wall[50:] = (110, 80, 60)
    for _ in range(14):
        x, y = rng.integers(0, WIDTH - 12), rng.integers(0, 40)
        cv2.rectangle(wall, (int(x), int(y)), (int(x) + 11, int(y) + 8), rng.integers(0, 255, 3).tolist(), -1)
    return cv2.GaussianBlur(wall, (0, 0), 0.7)


def walk(num_frames: int, seed: int = 0, start: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A person-sized block crosses the room: frames [T, H, W, 3], masks [T, H, W], the clean room."""
    rng = np.random.default_rng(seed)
    clean = room(seed)
    frames, masks = [], []
    for t in range(num_frames):
        mask = np.zeros((HEIGHT, WIDTH), bool)
        left = start + 70 * t // max(num_frames, 1)
        mask[15:65, left : left + 16] = True
        frame = np.clip(clean + rng.normal(0, 2, clean.shape), 0, 255).astype(np.uint8)
        frame[mask] = (255, 0, 255)
        frames.append(frame)
        masks.append(mask)
    return np.stack(frames), np.stack(masks), clean


def build(frames: np.ndarray, masks: np.ndarray, **settings: object):
    visible = (~masks).sum(0)
    builder = PlateBuilder(PlateConfig(**settings), visible_HW=visible, num_frames=len(frames))
    for frame, mask in zip(frames, masks, strict=True):
        builder.add(frame, mask)
    return builder.build()


@pytest.mark.parametrize("num_frames", [16, 40, 200])
def test_plate_is_the_clean_background(num_frames: int) -> None:
    frames, masks, clean = walk(num_frames)
    plate = build(frames, masks)
    assert plate.never_observed < 0.05
    assert cv2.PSNR(plate.color_HW3[plate.seen_HW], clean[plate.seen_HW]) > 38


@pytest.mark.parametrize("method", FILLS)
def test_masked_pixels_have_no_influence(method: str) -> None:
    """A person who never leaves: the plate is bit-identical for all pixels under the masks."""
    frames, masks, _ = walk(12)
    masks[:, 20:60, 30:50] = True
    other = frames.copy()
    other[masks] = np.random.default_rng(1).integers(0, 256, (masks.sum(), 3))
    first, second = build(frames, masks, fill=method), build(other, masks, fill=method)
    np.testing.assert_array_equal(first.color_HW3, second.color_HW3)
    np.testing.assert_array_equal(first.seen_HW, second.seen_HW)
    assert not first.seen_HW[20:60, 30:50].any()


def test_median_agrees_with_numpy() -> None:
    """All samples fit in memory, so the plate is the plain masked median of each pixel's history."""
    rng = np.random.default_rng(3)
    frames = rng.integers(0, 256, (9, 20, 30, 3), dtype=np.uint8)
    masks = rng.random((9, 20, 30)) < 0.5
    masks[:3] = False
    plate = build(frames, masks, samples=9, min_visible=0.0)
    hidden = np.where(masks[..., None], np.nan, frames.astype(float))
    np.testing.assert_allclose(plate.color_HW3, np.nanmedian(hidden, axis=0), atol=0.5)


def test_a_passing_stranger_leaves_no_ghost() -> None:
    """An unmasked visitor in a third of the frames is outvoted."""
    frames, masks, clean = walk(60)
    frames[10:28, 30:60, 5:25] = (0, 255, 0)
    plate = build(frames, masks)
    assert cv2.PSNR(plate.color_HW3[plate.seen_HW], clean[plate.seen_HW]) > 33


@pytest.mark.parametrize("failures", [1, 6, 13])
def test_a_limb_that_masks_miss_now_and_then_is_no_background(failures: int) -> None:
    """Shoes that stand still, unmasked in fewer than half of the frames, are not in the plate."""
    frames, masks, clean = walk(30)
    shoes = (slice(None), slice(60, 68), slice(80, 92))
    frames[shoes] = (255, 0, 0)
    masks[shoes] = True
    masks[8 : 8 + failures, 60:68, 80:92] = False
    plate = build(frames, masks)
    assert not plate.seen_HW[60:68, 80:92].any()
    assert np.abs(plate.color_HW3[60:68, 80:92].astype(int) - clean[60:68, 80:92]).max() < 25
    missed = changed(frames[9], plate.color_HW3, masks[9], CompositeConfig())
    assert missed[60:68, 80:92].all() == (failures > 1)  # so they are removed where masks miss them


def test_lighting_is_followed() -> None:
    clean = room()
    free = np.ones((HEIGHT, WIDTH), bool)
    for gain in (0.93, 1.0, 1.06):
        dimmed = np.clip(clean * gain, 0, 255).astype(np.uint8)
        dimmed[20:40, 20:40] = 255  # something else in the picture
        found = lighting(dimmed, clean, free)
        assert np.abs(found - gain).max() < 0.012
        usual = np.s_[45:, :]
        assert np.abs(relit(clean, found)[usual].astype(int) - dimmed[usual]).max() <= 3


@pytest.mark.parametrize(("dx", "zoom"), [(0.0, 1.0), (6.0, 1.0), (0.0, 1.08)])
def test_camera_motion_is_noticed(dx: float, zoom: float) -> None:
    big = cv2.resize(room(5), (640, 480), interpolation=cv2.INTER_CUBIC)
    big = np.clip(big + np.random.default_rng(0).normal(0, 3, big.shape), 0, 255).astype(np.uint8)
    check = CameraCheck(num_frames=10)
    for index in range(10):
        part = index / 9
        scale = 1 + (zoom - 1) * part
        matrix = np.array([[scale, 0, dx * part], [0, scale, 0]], np.float32)
        frame = cv2.warpAffine(big, matrix, (640, 480))[40:-40, 40:-40]
        mask = np.zeros(frame.shape[:2], bool)
        mask[100:350, 20 * index : 20 * index + 60] = True
        frame = frame.copy()
        frame[mask] = np.random.default_rng(index).integers(0, 255, 3)
        check.add(index, np.ascontiguousarray(frame), mask)
    moves = dx > 0 or zoom > 1
    assert (check.drift_px() > 1.0) == moves


def test_settings_are_checked() -> None:
    with pytest.raises(UserError, match="fill"):
        PlateConfig(fill="magic")
    with pytest.raises(UserError, match="min_visible"):
        PlateConfig(min_visible=1.5)


def test_memory_does_not_grow_with_the_video(tmp_path: Path) -> None:
    """The first pass over ten times as many frames needs no more memory, but for the packed masks."""
    peaks = []
    for num_frames in (30, 300):
        frames, covered, _ = walk(30)
        path = tmp_path / f"{num_frames}.mp4"
        with VideoWriter(path, width=WIDTH, height=HEIGHT, fps=25) as writer:
            for index in range(num_frames):
                writer.write(frames[index % 30])
        masks_TB = pack(covered[np.arange(num_frames) % 30])
        tracemalloc.start()
        background = find_background(str(path), probe(path), masks_TB, PlateConfig())
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert background.plate is not None
    assert peaks[1] < 1.2 * peaks[0]
