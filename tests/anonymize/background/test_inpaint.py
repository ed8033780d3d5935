"""Fills see nothing of what they replace, and make something plausible of what is around it."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from support.onnx_files import network

from raymaskdp.anonymize.background.config import check_fill
from raymaskdp.anonymize.background.inpaint import FILLS, fill
from raymaskdp.errors import UserError

HEIGHT, WIDTH = 72, 96


@pytest.mark.parametrize("method", FILLS)
@pytest.mark.parametrize("hole", [(slice(20, 60), slice(40, 56)), (slice(0, 72), slice(0, 20))])
def test_fill_is_plausible(method: str, hole: tuple[slice, slice]) -> None:
    """A wall over a floor stays a wall over a floor."""
    clean = np.full((HEIGHT, WIDTH, 3), 200, np.uint8)
    clean[50:] = (110, 80, 60)
    unknown = np.zeros((HEIGHT, WIDTH), bool)
    unknown[hole] = True
    filled = fill(clean, unknown, method)
    assert cv2.PSNR(filled, clean) > (20 if method in ("telea", "blur") else 30)
    np.testing.assert_array_equal(filled[~unknown], clean[~unknown])


def test_fill_without_anything_known() -> None:
    unknown = np.ones((8, 8), bool)
    for method in FILLS:
        assert (fill(np.full((8, 8, 3), 200, np.uint8), unknown, method) == 127).all()


def test_rows_carry_texture_on_and_show_no_streaks() -> None:
    """In a gap in a brick wall, colours vary from row to row and along a row about as they do beside it."""
    rng = np.random.default_rng(0)
    bricks = np.kron(rng.integers(-10, 11, (HEIGHT // 4, WIDTH // 6)), np.ones((4, 6)))
    wall = np.clip(140 + bricks[..., None] + rng.normal(0, 2, (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)
    unknown = np.zeros((HEIGHT, WIDTH), bool)
    unknown[:, 34:62] = True
    gray = fill(wall, unknown, "rows").astype(float).mean(axis=2)
    inside, beside = gray[:, 36:60], gray[:, 4:28]
    assert inside.std() > 0.6 * beside.std()
    assert np.abs(np.diff(inside, axis=1)).mean() > 0.6 * np.abs(np.diff(beside, axis=1)).mean()
    assert inside.mean(axis=1).std() < 1.8 * beside.mean(axis=1).std()


def test_rows_between_varied_surroundings_are_a_smooth_surface() -> None:
    """A wide gap between shelves has no streaks, and the mean colour of what is around it."""
    rng = np.random.default_rng(1)
    goods = np.kron(rng.integers(0, 256, (HEIGHT // 6, WIDTH // 6, 3)), np.ones((6, 6, 1))).astype(np.uint8)
    unknown = np.zeros((HEIGHT, WIDTH), bool)
    unknown[12:60, 24:72] = True
    filled = fill(goods, unknown, "rows").astype(float)[16:56, 28:68]
    beside = goods.astype(float)[:, :24]
    assert np.abs(np.diff(filled, axis=0)).mean() < 0.2 * np.abs(np.diff(beside, axis=0)).mean()
    assert np.abs(filled.mean((0, 1)) - goods[~unknown].mean(0)).max() < 25


def test_rows_below_all_that_is_known_are_as_bright_as_it() -> None:
    """Rows without a known pixel are not mixed with the black of erased ones."""
    wall = np.full((HEIGHT, WIDTH, 3), 200, np.uint8)
    unknown = np.zeros((HEIGHT, WIDTH), bool)
    unknown[50:] = True
    unknown[40:50, 30:40] = True
    assert fill(wall, unknown, "rows").min() >= 198


def test_a_network_fills_by_path(tmp_path: Path) -> None:
    """A network that paints the unknown white: it gets the erased picture and the mask, as documented."""
    path = tmp_path / "paint.onnx"
    shapes = {"image": (1, 3, 512, 512), "mask": (1, 1, 512, 512)}
    path.write_bytes(network([("Add", ("image", "mask"), "out")], shapes, ("out", (1, 3, 512, 512))))
    check_fill("plate.fill", str(path))
    color = np.random.default_rng(0).integers(0, 200, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    unknown = np.zeros((HEIGHT, WIDTH), bool)
    unknown[20:60, 30:50] = True
    filled = fill(color, unknown, str(path))
    np.testing.assert_array_equal(filled[~unknown], color[~unknown])
    assert (filled[24:56, 34:46] == 255).all()
    other = color.copy()
    other[unknown] = 77
    np.testing.assert_array_equal(fill(other, unknown, str(path)), filled)


def test_a_bad_network_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no file"):
        check_fill("plate.fill", str(tmp_path / "missing.onnx"))
    with pytest.raises(UserError, match=r"plate\.fill"):
        check_fill("plate.fill", "magic")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a network")
    unknown = np.eye(16, dtype=bool)
    with pytest.raises(UserError, match="cannot fill a plate"):
        fill(np.zeros((16, 16, 3), np.uint8), unknown, str(broken))
