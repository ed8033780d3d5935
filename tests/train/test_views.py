"""What is sensitive, against a brute-force reading of the rule."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from raymaskdp.train.data import views
from raymaskdp.train.data.views import Resampling


@pytest.mark.parametrize(("source", "target"), [((24, 32), (6, 8)), ((23, 37), (6, 8)), ((48, 40), (12, 16))])
def test_resampling_is_the_mean_over_the_covered_rectangle(source, target) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, size=(1, *source, 3)).astype(np.uint8)
    found = Resampling.between(source, target).frames(image)[0]
    scale = min(source[0] / target[0], source[1] / target[1])
    top, left = (source[0] - scale * target[0]) / 2, (source[1] - scale * target[1]) / 2
    fine = 40  # sub-pixels a side: a numerical integral
    for row, column in [(0, 0), (2, 3), (target[0] - 1, target[1] - 1)]:
        ys = top + scale * (row + (np.arange(fine) + 0.5) / fine)
        xs = left + scale * (column + (np.arange(fine) + 0.5) / fine)
        mean = image[0][ys.astype(int)][:, xs.astype(int)].astype(float).mean(axis=(0, 1))
        np.testing.assert_allclose(found[row, column], mean, atol=0.5 + 255 / fine)


@pytest.mark.parametrize(
    ("source", "target"), [((24, 32), (6, 8)), ((23, 37), (6, 8)), ((9, 11), (8, 8)), ((5, 7), (8, 12))]
)
def test_every_contributing_source_pixel_counts(source, target) -> None:
    """Changing one source pixel changes only output pixels that `touched` marks for it, and the converse."""
    rng = np.random.default_rng(1)
    resampling = Resampling.between(source, target)
    for _ in range(60):
        row, column = rng.integers(source[0]), rng.integers(source[1])
        mask = np.zeros((1, *source), dtype=bool)
        mask[0, row, column] = True
        response = (resampling.rows_HS[:, row, None] * resampling.columns_WR[None, :, column]) != 0
        np.testing.assert_array_equal(resampling.touched(mask)[0], response)
        image = np.zeros((1, *source, 3), dtype=np.uint8)
        changed = image.copy()
        changed[0, row, column] = 255
        differs = (resampling.frames(image) != resampling.frames(changed)).any(axis=-1)
        assert not (differs & ~resampling.touched(mask)).any()


@pytest.mark.parametrize(("source", "target"), [((4, 4), (7, 7)), ((5, 5), (15, 15))])
def test_enlarging_is_bilinear(source, target) -> None:
    image = np.random.default_rng(3).integers(0, 256, size=(1, *source, 3)).astype(np.uint8)
    found = Resampling.between(source, target).frames(image)[0]
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(image).movedim(-1, 1).float(), size=target, mode="bilinear", align_corners=False
    )[0]
    np.testing.assert_allclose(found, wanted.movedim(0, -1).numpy(), atol=0.51)


def test_one_sensitive_pixel_makes_its_whole_token_sensitive() -> None:
    mask = np.zeros((2, 8, 12), dtype=bool)
    mask[1, 5, 7] = True
    tokens = views.sensitive_tokens(mask, 4)
    assert tokens.sum() == 1
    assert tokens[1, 1, 1]
    assert views.expand(tokens, 4)[1, 4:8, 4:8].all()


@pytest.mark.parametrize("poison", [np.nan, np.inf, 1e30, -1e30])
def test_public_view_is_bit_equal_whatever_is_sensitive(poison) -> None:
    rng = np.random.default_rng(2)
    frames = rng.normal(size=(3, 8, 8, 3)).astype(np.float32)
    sensitive = rng.random((3, 8, 8)) < 0.5
    poisoned = frames.copy()
    poisoned[sensitive] = poison
    clean = views.public_view(frames, sensitive, 128)
    assert clean.tobytes() == views.public_view(poisoned, sensitive, 128).tobytes()
    assert (clean[sensitive] == 128).all()
    assert (clean[~sensitive] == frames[~sensitive]).all()


def test_both_views_share_the_avatar_layer_where_not_sensitive() -> None:
    rng = np.random.default_rng(3)
    composite, avatar = rng.integers(0, 256, size=(2, 3, 8, 8, 3)).astype(np.uint8)
    sensitive = rng.random((3, 8, 8)) < 0.5
    full = views.full_view(composite, avatar, sensitive)
    assert (full[~sensitive] == avatar[~sensitive]).all()
    assert (full[sensitive] == composite[sensitive]).all()
