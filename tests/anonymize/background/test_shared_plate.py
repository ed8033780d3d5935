"""Videos of one camera show each other what is behind their people, and no pixel under any mask."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from raymaskdp.anonymize import shared_background
from raymaskdp.anonymize.background.config import PlateConfig
from raymaskdp.anonymize.background.plate import Plate, PlateBuilder
from raymaskdp.anonymize.background.shared_plate import (
    Observation,
    agree,
    build_views,
    load_views,
    merge_views,
    save_views,
)
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.errors import UserError

HEIGHT, WIDTH = 120, 160
CONFIG = PlateConfig()


def room(seed: int = 0) -> np.ndarray:
    """A wall with pictures above a floor, uint8 [H, W, 3]."""
    rng = np.random.default_rng(seed)
    wall = np.full((HEIGHT, WIDTH, 3), 180, np.uint8)
    wall[90:] = (110, 80, 60)
    for _ in range(20):
        x, y = rng.integers(0, WIDTH - 20), rng.integers(0, 75)
        cv2.rectangle(
            wall, (int(x), int(y)), (int(x) + 17, int(y) + 12), rng.integers(0, 255, 3).tolist(), -1
        )
    return cv2.GaussianBlur(wall, (0, 0), 0.7)


def stands(clean: np.ndarray, at: int, *, seed: int = 0, light: float = 1.0, person: int = 255) -> Plate:
    """The observed room of a video in which a person stands still from column `at` on."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[30:110, at : at + 24] = True
    builder = PlateBuilder(CONFIG, visible_HW=9 * ~mask, num_frames=9)
    for _ in range(9):
        frame = np.clip(clean * light + rng.normal(0, 2, clean.shape), 0, 255).astype(np.uint8)
        frame[mask] = (person, 0, person)
        builder.add(frame, mask)
    return builder.observed()


def saved(folder: Path, plates: list[Plate]) -> list[Path]:
    paths = [folder / f"{number}.npz" for number in range(len(plates))]
    for path, plate in zip(paths, plates, strict=True):
        Observation(plate=plate, drift_px=0.2).save(path)
    return paths


def psnr(plate: Plate, clean: np.ndarray, where: np.ndarray) -> float:
    return float(cv2.PSNR(plate.color_HW3[where], clean[where]))


@pytest.mark.parametrize("light", [1.0, 0.9, 1.1])
def test_what_a_person_hides_is_taken_from_other_videos(tmp_path: Path, light: float) -> None:
    """In the light of the video that needs it."""
    clean = room()
    views = build_views(saved(tmp_path, [stands(clean, at, seed=at) for at in (10, 50, 90, 130)]), CONFIG)
    assert len(views) == 1
    assert views[0].never_observed == 0
    own = stands(clean, 52, seed=7, light=light)
    whole = merge_views(own, views, CONFIG)
    assert whole.never_observed == 0
    lit = np.clip(clean * light, 0, 255).astype(np.uint8)
    assert psnr(whole, lit, ~own.seen_HW) > 35
    np.testing.assert_array_equal(whole.color_HW3[own.seen_HW], own.color_HW3[own.seen_HW])


@pytest.mark.parametrize("light", [1.0, 0.9])
def test_shadows_go_where_others_throw_none(tmp_path: Path, light: float) -> None:
    """Each video shows a still shadow beside its person; most show the floor there without one."""
    clean = room()
    others = [stands(shaded(clean, at), at, seed=at) for at in (10, 50, 90, 130)]
    (view,) = build_views(saved(tmp_path, others), CONFIG)
    own = stands(shaded(clean, 52), 52, seed=7, light=light)
    lit = np.clip(clean * light, 0, 255).astype(np.uint8)
    whole = merge_views(own, [view], CONFIG)
    dark = own.seen_HW & (clean - shaded(clean, 52) > 2).all(axis=2)
    assert psnr(own, lit, dark) < 25
    assert psnr(whole, lit, dark) > 35
    assert psnr(whole, lit, own.seen_HW) > 42
    # In a room that is darker on one side than before, no person cast that shadow.
    dim = np.linspace(0.85, 1, WIDTH)[:, None]
    own = stands(clean * dim, 52, seed=7)
    whole = merge_views(own, [view], CONFIG)
    assert psnr(whole, (clean * dim).astype(np.uint8), own.seen_HW) > 38


def shaded(clean: np.ndarray, at: int) -> np.ndarray:
    """The room with the shadow of a person who stands from column `at` on."""
    cast = np.zeros((HEIGHT, WIDTH), np.float32)
    cast[94:112, at + 12 : at + 45] = 0.3
    return clean * (1 - cv2.GaussianBlur(cast, (0, 0), 2)[..., None])


def test_nothing_under_a_mask_gets_into_a_shared_plate(tmp_path: Path) -> None:
    """The plate is bit-identical for all people; the place where all stand is unknown."""
    clean, plates = room(), []
    for person in (255, 40):
        folder = tmp_path / str(person)
        folder.mkdir()
        some = [stands(clean, at, seed=at, person=person) for at in (40, 50, 60)]
        (view,) = build_views(saved(folder, some), CONFIG)
        plates.append(merge_views(some[0], [view], CONFIG))
    np.testing.assert_array_equal(plates[0].color_HW3, plates[1].color_HW3)
    hidden = np.zeros((HEIGHT, WIDTH), bool)
    hidden[30:110, 60:64] = True
    np.testing.assert_array_equal(plates[0].seen_HW, ~hidden)
    assert not plates[0].color_HW3[hidden].any()


@pytest.mark.parametrize("change", ["moved", "zoomed", "other room", "dark", "size"])
def test_a_camera_that_was_changed_is_noticed(tmp_path: Path, change: str) -> None:
    clean = room()
    shift = {"moved": np.array([[1, 0, 3.0], [0, 1, 0]]), "zoomed": np.array([[1.05, 0, 0], [0, 1.05, 0]])}
    other = {
        "moved": lambda: cv2.warpAffine(
            clean, shift["moved"], (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT
        ),
        "zoomed": lambda: cv2.warpAffine(clean, shift["zoomed"], (WIDTH, HEIGHT)),
        "other room": lambda: room(5),
        "dark": lambda: (clean * 0.4).astype(np.uint8),
        "size": lambda: clean,
    }[change]()
    before = [stands(clean, at, seed=at) for at in (10, 60, 110)]
    after = [stands(other, at, seed=at) for at in (20, 70)]
    if change == "size":
        after = [Plate(color_HW3=p.color_HW3[:-8], seen_HW=p.seen_HW[:-8]) for p in after]
    assert not any(agree(a, b, CONFIG) for a in before for b in after)
    first, second = build_views(saved(tmp_path, [*before, *after]), CONFIG)  # a view of each
    own = after[0]
    assert merge_views(own, [first], CONFIG) is own  # left to itself
    assert merge_views(own, [first, second], CONFIG).never_observed == 0
    later = stands(room(9), 30)
    assert merge_views(later, [first, second], CONFIG) is later


def test_a_camera_that_moves_within_a_video_lends_nothing(tmp_path: Path) -> None:
    paths = saved(tmp_path, [stands(room(), at) for at in (10, 60, 110)])
    Observation(plate=stands(room(), 10), drift_px=3.0).save(paths[0])
    (view,) = build_views(paths, CONFIG)
    (expected,) = build_views(paths[1:], CONFIG)
    np.testing.assert_array_equal(view.color_HW3, expected.color_HW3)
    assert build_views(paths[:2], CONFIG) == ()  # no other video to share with


def test_files_come_back_as_they_were(tmp_path: Path) -> None:
    plate = stands(room(), 30)
    save_views(tmp_path / "views.npz", [plate, plate])
    for back in (*load_views(tmp_path / "views.npz"), Observation.load(saved(tmp_path, [plate])[0]).plate):
        np.testing.assert_array_equal(back.color_HW3, plate.color_HW3)
        np.testing.assert_array_equal(back.seen_HW, plate.seen_HW)
    (tmp_path / "views.npz").write_bytes(b"PK torn")
    with pytest.raises(UserError, match="damaged"):
        load_views(tmp_path / "views.npz")


def test_which_videos_are_donors(tmp_path: Path) -> None:
    """A few of each camera, always the same; a camera with one video shares nothing."""
    records = [
        VideoRecord(video_id=f"v{n:03d}", path=f"{n}.mp4", camera=None if n < 5 else f"c{n % 3}")
        for n in range(100)
    ]
    records.append(VideoRecord(video_id="alone", path="a.mp4", camera="c9"))
    chosen = shared_background.donors(records, 8)
    assert sorted(chosen) == ["c0", "c1", "c2"]
    assert all(len(some) == 8 for some in chosen.values())
    assert shared_background.donors(reversed(records), 8) == chosen
    assert shared_background.donors(records, 0) == {}
    numbers = sorted(int(record.video_id[1:]) for record in chosen["c0"])
    assert numbers[-1] - numbers[0] > 40  # not neighbours
