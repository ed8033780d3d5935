import dataclasses

import numpy as np
import pytest
from scipy.spatial import cKDTree

from raymaskdp.bodies.avatar import (
    ADULT_YEARS,
    DIFFERENT,
    LEGIBLE,
    MAX_BETA,
    contrast,
    draw_avatar,
    draw_avatars,
    legibility,
)
from raymaskdp.bodies.clothes.hair import BEARDS, HAIRSTYLES
from raymaskdp.bodies.clothes.wardrobe import OUTFITS
from raymaskdp.bodies.figure import CELLS_M, dress
from raymaskdp.bodies.skeleton import NUM_JOINTS

SECRET = b"thirty-two bytes of run secret.."
WOMENS = {name for name, outfit in OUTFITS.items() if outfit.style == "women"}
WOMENS |= {name for name, style in HAIRSTYLES.items() if style == "women"}


def test_a_subject_keeps_its_avatar_and_the_secret_decides_it():
    assert draw_avatar(SECRET, "subject 1") == draw_avatar(SECRET, "subject 1")
    assert draw_avatar(SECRET, "subject 1") != draw_avatar(SECRET, "subject 2")
    assert draw_avatar(SECRET, "subject 1") != draw_avatar(b"another", "subject 1")


def test_the_draw_is_pinned_so_that_machines_agree():
    avatar = draw_avatar(SECRET, "subject 1")
    assert avatar.outfit in OUTFITS
    assert avatar.betas == draw_avatar(SECRET, "subject 1").betas
    assert len(avatar.betas) == 10


def test_avatars_are_diverse():
    crowd = [draw_avatar(SECRET, f"track {i}") for i in range(600)]
    assert len(OUTFITS) >= 8
    assert {a.outfit for a in crowd} == set(OUTFITS)
    assert {a.hairstyle for a in crowd} == set(HAIRSTYLES)
    # A fair draw of 12 outfits: none is more than twice as frequent as it should be.
    counts = np.array([sum(a.outfit == outfit for a in crowd) for outfit in OUTFITS])
    assert counts.max() < 2 * len(crowd) / len(OUTFITS)
    brightness = np.array([np.mean(a.skin) for a in crowd])
    assert np.histogram(brightness, bins=6, range=(0.2, 0.85))[0].min() > len(crowd) / 40
    betas = np.array([a.betas for a in crowd])
    assert np.abs(betas).max() <= MAX_BETA
    assert {a.beard for a in crowd} == set(BEARDS)
    years = np.array([a.years for a in crowd])
    assert years.min() >= 18
    assert np.histogram(years, bins=4, range=ADULT_YEARS)[0].min() > len(crowd) / 8
    np.testing.assert_allclose(betas.mean(axis=0), 0, atol=0.2)
    np.testing.assert_allclose(betas.std(axis=0), 0.9, atol=0.15)


def test_bodies_look_like_adults_and_go_with_their_clothes(body):
    """Heights of adults; a clear majority of those who wear women's clothes or no beard has hips wider
    than the shoulders' share of them, against those with beards: the sexes differ where they should."""
    crowd = [draw_avatar(SECRET, f"track {i}") for i in range(150)]
    shapes = np.stack([body.surface.shaped(a.betas_S) for a in crowd])
    heights = np.ptp(shapes[..., 1], axis=1)
    assert 1.3 < heights.min() < heights.max() < 2.05
    women = np.array([a.outfit in WOMENS or a.hairstyle in WOMENS for a in crowd])
    men = np.array([a.beard != "none" or a.hairstyle in ("bald", "buzz") for a in crowd])
    assert 30 < women.sum() < 120
    assert not (women & men).any()
    across = np.stack([np.abs(body.rest_joints(a.betas_S)[[16, 1], 0]) for a in crowd])
    shoulders, hips = across.T
    assert heights[men].mean() - heights[women].mean() > 0.06
    assert (shoulders / hips)[men].mean() > (shoulders / hips)[women].mean()


def test_people_seen_together_can_be_told_apart():
    """Also by machine: of many pairs none is too alike, and no one's avatar depends on who comes later."""
    names = [f"track {i}" for i in range(120)]
    pairs = [draw_avatars(SECRET, names[i : i + 2]) for i in range(0, 120, 2)]
    assert min(contrast(*pair) for pair in pairs) >= DIFFERENT
    alone = [
        contrast(draw_avatar(SECRET, a), draw_avatar(SECRET, b))
        for a, b in zip(names[::2], names[1::2], strict=True)
    ]
    assert min(alone) < DIFFERENT  # so it had something to do
    for (first, second), name in zip(pairs, names[::2], strict=True):
        assert [first] == draw_avatars(SECRET, [name])
        assert contrast(first, second) > 0
    crowd = draw_avatars(SECRET, names[:6])
    assert draw_avatars(SECRET, names[:4]) == crowd[:4]


def test_limbs_of_who_replaces_a_person_show():
    """No kick is hidden by a long dress, and no sleeve moves in front of a coat of its colour."""
    names = [f"subject {i}" for i in range(80)]
    alone = [draw_avatar(SECRET, name) for name in names]
    chosen = [draw_avatars(SECRET, [name])[0] for name in names]
    assert min(legibility(avatar) for avatar in chosen) >= LEGIBLE
    assert np.mean([legibility(avatar) < LEGIBLE for avatar in alone]) > 0.4  # so it had something to do
    assert "long dress" in {avatar.outfit for avatar in alone}
    assert all(legibility(avatar) == 0 for avatar in alone if avatar.outfit == "long dress")
    assert {avatar.outfit for avatar in chosen} == set(OUTFITS) - {"long dress"}
    dark = dataclasses.replace(chosen[0], bottom=(0.1, 0.1, 0.1), shoes=(0.1, 0.12, 0.1))
    assert legibility(dark) == pytest.approx(0.02)


def test_nothing_of_the_person_can_enter_the_draw():
    """The signature is the guarantee: a secret and a name, no shape, no picture."""
    import inspect

    assert list(inspect.signature(draw_avatar).parameters) == ["secret", "name"]


def _still(body, figure, avatar):
    rotations = np.zeros((1, NUM_JOINTS, 3), dtype=np.float32)
    return figure.pose(rotations, np.zeros((1, 3), dtype=np.float32))[0]


@pytest.mark.parametrize("outfit", sorted(OUTFITS))
def test_clothes_cover_the_body_and_stay_close_to_it(body, outfit):
    avatar = dataclasses.replace(draw_avatar(SECRET, "x"), outfit=outfit, hairstyle="bald")
    figure = dress(body, avatar)
    dressed = _still(body, figure, avatar)
    bare = body.surface.shaped(avatar.betas_S)
    assert np.isfinite(dressed).all()
    low, high = bare.min(axis=0), bare.max(axis=0)
    assert (dressed.min(axis=0) > low - 0.06).all()
    assert (dressed.max(axis=0) < high + 0.06).all()
    # From below the collar to the trousers' top, no skin is left that could show.
    shown = figure.dyes_V == "skin"
    joints = body.rest_joints(avatar.betas_S)
    chest = (np.abs(dressed[:, 0]) < 0.1) & (dressed[:, 1] > joints[0, 1] + 0.05)
    chest &= dressed[:, 1] < joints[9, 1] - 0.06
    assert chest.any()
    assert shown.any()
    assert not shown[chest].any()


@pytest.mark.parametrize("hairstyle", HAIRSTYLES)
def test_hair_leaves_the_face_free(body, hairstyle):
    avatar = dataclasses.replace(draw_avatar(SECRET, "x"), hairstyle=hairstyle)
    figure = dress(body, avatar)
    dressed = _still(body, figure, avatar)
    eyes = body.surface.shaped(avatar.betas_S)[body.eyes]
    eyes = eyes[eyes[:, 2] > np.quantile(eyes[:, 2], 0.8)]
    hair = np.isin(figure.dyes_V, ["hair", "accent"])
    for eye in eyes:
        ahead = hair & (np.linalg.norm(dressed[:, :2] - eye[:2], axis=1) < 0.012) & (dressed[:, 2] > eye[2])
        assert not ahead.any()


def test_coarser_levels_are_smaller_and_never_farther_than_a_cell(body):
    figure = dress(body, draw_avatar(SECRET, "x"))
    still = figure.pose(np.zeros((1, NUM_JOINTS, 3)), np.zeros((1, 3)))[0]
    sizes = [len(figure.detail(metres).faces_F3) for metres in (0.0, 0.008, 0.018)]
    assert sizes[0] > 1.2 * sizes[1] > 1.4 * sizes[2]
    coarse = figure.detail(0.02)
    kept = still[coarse.used]
    distance, _ = cKDTree(kept).query(still)
    assert distance.max() < CELLS_M[-1] * np.sqrt(3)  # the diagonal of a cell


def test_a_licensed_body_is_dressed_by_the_same_code(licensed_file):
    from raymaskdp.bodies.body import load_body

    licensed = load_body(licensed_file)
    avatar = dataclasses.replace(draw_avatar(SECRET, "x"), outfit="t-shirt and jeans", hairstyle="short")
    figure = dress(licensed, avatar)
    assert set(figure.dyes_V) >= {"top", "bottom", "shoes", "skin", "hair"}
    posed = figure.pose(np.full((2, NUM_JOINTS, 3), 0.1, dtype=np.float32), np.zeros((2, 3)))
    assert posed.shape == (2, len(figure.colors_V3), 3)
    assert np.isfinite(posed).all()
