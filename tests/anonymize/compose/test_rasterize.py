"""Pixels know their point of the body, and noise sticks to it."""

import cv2
import numpy as np
import pytest

from raymaskdp.anonymize.compose.diffusion.noise import anchored
from raymaskdp.anonymize.compose.diffusion.rasterize import (
    Crop,
    PlacedMesh,
    crop_around,
    flow,
    project,
    rasterize,
)
from raymaskdp.bodies.avatar import draw_avatar
from raymaskdp.bodies.body import load_body
from raymaskdp.bodies.figure import Figure, dress
from raymaskdp.bodies.render import Renderer
from raymaskdp.bodies.settings.render import RenderConfig
from raymaskdp.bodies.skeleton import NUM_JOINTS

SIDE = 192
CAMERA = np.array([[260.0, 0, 96], [0, 260.0, 96], [0, 0, 1]])


@pytest.fixture(scope="module")
def figure() -> Figure:
    return dress(load_body(), draw_avatar(b"s", "a"))


def posed(figure: Figure, turn: float = 0.0, bend: float = 0.0, shift: float = 0.0) -> np.ndarray:
    """Vertices of an upright person who turns about the vertical axis and bends an elbow."""
    rotations = np.zeros((1, NUM_JOINTS, 3), np.float32)
    upright = np.diag([1.0, -1.0, -1.0]) @ cv2.Rodrigues(np.array([0.0, turn, 0.0]))[0]
    rotations[0, 0] = cv2.Rodrigues(upright)[0].ravel()
    rotations[0, 18, 1] = -bend
    return figure.pose(rotations, np.array([[shift, 0.1, 2.8]], np.float32))[0]


def body(figure: Figure, vertices: np.ndarray, person: int = 0) -> PlacedMesh:
    return PlacedMesh(person=person, faces_F3=figure.faces_F3, vertices_V3=vertices)


def test_the_surface_is_what_opengl_draws(figure) -> None:
    vertices = posed(figure, turn=0.4, bend=0.8)
    surface = rasterize([body(figure, vertices)], CAMERA, SIDE)
    renderer = Renderer(RenderConfig())
    drawn = renderer.render([(figure, vertices)], CAMERA, width=SIDE, height=SIDE)
    renderer.close()
    own = surface.person_SS == 0
    assert (own & drawn.mask_HW).sum() > 0.97 * (own | drawn.mask_HW).sum()
    inner = cv2.erode((own & drawn.mask_HW).astype(np.uint8), np.ones((3, 3))) > 0
    apart = np.abs(surface.depth_SS - drawn.depth_HW)[inner]
    assert np.quantile(apart, 0.95) < 0.01
    # The point that a pixel shows is seen at its centre.
    pixels, depth = project(surface.points(vertices, own), CAMERA)
    rows, columns = np.nonzero(own)
    np.testing.assert_allclose(pixels, np.stack([columns, rows], axis=1) + 0.5, atol=1e-3)
    np.testing.assert_allclose(depth, surface.depth_SS[own], rtol=1e-4)


def test_flow_finds_the_same_cloth_again(figure) -> None:
    """Rest places, painted on the body in each frame, agree after warping one frame to the other."""
    before, after = posed(figure), posed(figure, turn=0.25, bend=0.5, shift=0.08)
    rest = figure.pose(np.zeros((1, NUM_JOINTS, 3), np.float32), np.zeros((1, 3), np.float32))[0]
    surfaces = [rasterize([body(figure, v)], CAMERA, SIDE) for v in (before, after)]
    painted = []
    for surface in surfaces:
        own = surface.person_SS == 0
        picture = np.zeros((SIDE, SIDE, 3), np.float32)
        picture[own] = surface.points(rest, own)
        painted.append(picture)
    back = flow(surfaces[1], 0, surfaces[0], before, CAMERA)
    warped = back.warp(painted[0])
    known = cv2.erode(back.known_SS.astype(np.uint8), np.ones((3, 3))) > 0
    assert known.sum() > 0.6 * (surfaces[1].person_SS == 0).sum()
    error = np.linalg.norm(warped - painted[1], axis=2)[known]
    still = np.linalg.norm(painted[0] - painted[1], axis=2)[known]
    assert np.median(error) < 0.003  # metres on the body; a pixel is 11 mm
    assert np.median(error) < 0.1 * np.median(still)


def test_a_hidden_point_has_no_flow(figure) -> None:
    """Half a turn later the front is not seen, so nothing of the back knows where it was."""
    before, after = posed(figure), posed(figure, turn=np.pi)
    surfaces = [rasterize([body(figure, v)], CAMERA, SIDE) for v in (before, after)]
    back = flow(surfaces[1], 0, surfaces[0], before, CAMERA)
    assert back.known_SS.mean() < 0.15 * (surfaces[1].person_SS == 0).mean()


def test_the_nearer_person_is_seen(figure) -> None:
    near, far = posed(figure), posed(figure) + np.array([0, 0, 1.0], np.float32)
    for people in ([body(figure, near), body(figure, far, 1)], [body(figure, far, 1), body(figure, near)]):
        surface = rasterize(people, CAMERA, SIDE)
        alone = rasterize([body(figure, near)], CAMERA, SIDE)
        np.testing.assert_array_equal(surface.person_SS == 0, alone.person_SS == 0)


@pytest.mark.parametrize(("left", "top", "size"), [(-20, 30, 100), (50, -10, 64), (100, 80, 128)])
def test_a_crop_is_put_back_where_it_was_cut(left: int, top: int, size: int) -> None:
    frame = np.random.default_rng(0).integers(0, 255, (120, 160, 3)).astype(np.uint8)
    crop = Crop(left=left, top=top, size=size, side=size)
    rows, columns = crop.inside(120, 160)
    np.testing.assert_array_equal(crop.paste(crop.cut(frame), 120, 160), frame[rows, columns])
    pixels, _ = project(np.array([[0.2, 0.1, 2.0]]), crop.camera(CAMERA))
    whole, _ = project(np.array([[0.2, 0.1, 2.0]]), CAMERA)
    np.testing.assert_allclose(pixels + np.array([left, top]), whole)


def test_a_crop_stays_while_it_fits() -> None:
    mask = np.zeros((200, 200), bool)
    mask[50:150, 80:120] = True
    first = crop_around(mask, None, 64)
    assert crop_around(np.roll(mask, 10, axis=1), first, 64) == first
    assert crop_around(np.roll(mask, 80, axis=1), first, 64) != first
    mask[:] = False
    mask[90:120, 95:105] = True
    assert crop_around(mask, first, 64).size < first.size


def test_noise_is_white_and_repeats() -> None:
    rows, columns = np.indices((256, 256))
    cells = np.stack([rows // 3, columns // 3], axis=-1)  # cells do not line up with latents
    noise = anchored(cells, seed=5, channels=4, shape=(32, 32))
    assert noise.shape == (4, 32, 32)
    assert abs(noise.mean()) < 0.05
    assert abs(noise.std() - 1) < 0.05
    for other in (noise[:, 1:], noise[:, :, 1:]):
        here = noise[:, : other.shape[1], : other.shape[2]]
        assert abs(np.corrcoef(here.ravel(), other.ravel())[0, 1]) < 0.2  # they share cells at their border
    assert abs(np.corrcoef(noise.reshape(4, -1))[np.triu_indices(4, 1)]).max() < 0.1
    np.testing.assert_array_equal(noise, anchored(cells, seed=5, channels=4, shape=(32, 32)))
    other = anchored(cells, seed=6, channels=4, shape=(32, 32))
    assert abs(np.corrcoef(noise.ravel(), other.ravel())[0, 1]) < 0.05


def test_noise_moves_with_what_it_is_painted_on() -> None:
    rows, columns = np.indices((256, 256))
    moved = [np.stack([rows // 3, (columns + by) // 3], axis=-1) for by in (0, 16, 2)]
    first, two_latents, a_quarter = (anchored(c, seed=5, channels=4, shape=(32, 32)) for c in moved)
    np.testing.assert_allclose(two_latents[..., :-2], first[..., 2:], atol=1e-6)
    assert np.corrcoef(first.ravel(), a_quarter.ravel())[0, 1] > 0.6
