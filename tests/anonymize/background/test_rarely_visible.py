"""What people uncover for a while is background; what a sudden mask covers later is not."""

from __future__ import annotations

import numpy as np

from raymaskdp.anonymize.background.background import observe
from raymaskdp.anonymize.background.config import PlateConfig
from raymaskdp.anonymize.background.rarely_visible import RarelyVisible
from raymaskdp.video import masks, reader
from raymaskdp.video.writer import VideoWriter

HEIGHT, WIDTH, FRAMES = 96, 128, 40
TABLE = (slice(50, 70), slice(70, 90))


def walk_in(start: int = 0) -> np.ndarray:
    """A person, 24 wide and 60 high, who comes in from the left in 12 frames and stays before the table."""
    masks_THW = np.zeros((FRAMES, HEIGHT, WIDTH), bool)
    for frame in range(start, FRAMES):
        left = min(68, -24 + 8 * (frame - start))
        masks_THW[frame, 20:80, max(0, left) : max(0, left + 24)] = True
    return masks_THW


def test_what_somebody_walks_up_to_is_shown_before() -> None:
    rarely_visible = RarelyVisible(walk_in())
    assert rarely_visible.shown(0)[TABLE].all()
    assert rarely_visible.shown(3)[TABLE].all()
    assert not rarely_visible.shown(FRAMES - 1)[TABLE].any()


def test_where_a_mask_is_suddenly_there_nothing_is_known_before() -> None:
    masks_THW = walk_in()
    masks_THW[:11] = False  # who stands before the table is found late
    assert not RarelyVisible(masks_THW).shown(5)[TABLE].any()
    assert RarelyVisible(masks_THW).shown(5)[:, :40].all()


def test_where_a_mask_is_suddenly_gone_nothing_is_known_after() -> None:
    masks_THW = walk_in()[::-1].copy()
    assert RarelyVisible(masks_THW).shown(FRAMES - 1)[TABLE].all()
    masks_THW[30:] = False  # and who goes is lost before the edge
    assert not RarelyVisible(masks_THW).shown(FRAMES - 1)[TABLE].all()


def test_somebody_who_sits_at_the_edge_and_is_found_late_is_not_shown() -> None:
    masks_THW = np.zeros((FRAMES, HEIGHT, WIDTH), bool)
    masks_THW[12:, 40:, 90:] = True  # cut off by the edges, and there all the time
    assert not RarelyVisible(masks_THW).shown(2)[40:, 90:].any()
    assert not RarelyVisible(masks_THW[::-1]).shown(FRAMES - 3)[40:, 90:].any()


def test_somebody_who_turns_up_beside_another_is_not_taken_for_them() -> None:
    masks_THW = walk_in()
    masks_THW[20:, 20:80, 90:124] = True  # touches the mask of the first
    assert not RarelyVisible(masks_THW).shown(2)[20:80, 100:124].any()


def test_a_limb_that_the_masks_lose_is_not_shown() -> None:
    masks_THW = walk_in()
    masks_THW[:, 30:38, 92:106] = masks_THW[:, 30:38, 91:92]  # an arm, whenever the person stands there
    with_arm = masks_THW.copy()
    masks_THW[20:30, :, 92:] = False
    assert with_arm[25, 34, 100]
    assert not RarelyVisible(masks_THW).shown(25)[30:38, 92:106].any()


def test_masks_alone_decide_and_an_empty_video_shows_everything() -> None:
    assert RarelyVisible(np.zeros((3, HEIGHT, WIDTH), bool)).shown(1).all()
    assert not RarelyVisible(np.ones((3, HEIGHT, WIDTH), bool)).shown(1).any()


def test_a_table_stays_in_the_plate_though_somebody_stands_before_it(tmp_path) -> None:
    path, masks_THW = tmp_path / "film.mp4", walk_in()
    table = np.zeros((HEIGHT, WIDTH), bool)
    table[TABLE] = True
    noise = np.random.default_rng(0).integers(80, 90, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    with VideoWriter(path, width=WIDTH, height=HEIGHT, fps=10.0) as writer:
        for mask_HW in masks_THW:
            frame_HW3 = noise.copy()
            frame_HW3[table] = 200
            frame_HW3[mask_HW] = 20
            writer.write(frame_HW3)
    packed_TB = np.stack([masks.pack(masks.dilate(mask_HW, 2)) for mask_HW in masks_THW])
    plate = observe(str(path), reader.probe(path), packed_TB, PlateConfig()).plate
    assert plate.seen_HW[TABLE].all()
    assert np.abs(plate.color_HW3[TABLE].astype(int) - 200).max() < 25
    # Found late, the same person leaves nothing that counts as seen there.
    packed_TB[:11] = 0
    assert not observe(str(path), reader.probe(path), packed_TB, PlateConfig()).plate.seen_HW[TABLE].any()
