"""A folder of images is worn by a body of the right size, and named in a sentence otherwise."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

from raymaskdp.bodies.avatar import draw_avatar
from raymaskdp.bodies.body import load_body
from raymaskdp.bodies.figure import dress
from raymaskdp.bodies.render import Renderer
from raymaskdp.bodies.settings.render import Light, RenderConfig
from raymaskdp.bodies.skeleton import NUM_JOINTS
from raymaskdp.errors import UserError

AVATAR = dataclasses.replace(draw_avatar(b"t", "x"), fold=0.9)
CAMERA = np.array([[170.0, 0, 100], [0, 170.0, 75], [0, 0, 1]])


@pytest.fixture(scope="module")
def licensed(licensed_file):
    return load_body(licensed_file)


@pytest.fixture
def folder(tmp_path, licensed):
    """A layout that looks at the rest pose from the front, cut into separate triangles, and two images:
    the one that `fold` picks is red on its left, blue on its right, and green in its upper half."""
    rest = licensed.surface.rest_V3
    low, high = rest.min(axis=0), rest.max(axis=0)
    places = (rest[:, :2] - low[:2]) / (high - low)[:2]
    lines = [f"v {x:.5f} {y:.5f} {z:.5f}" for x, y, z in rest]
    lines += [f"vt {u:.5f} {v:.5f}" for u, v in places for _ in range(2)]
    for number, face in enumerate(licensed.faces_F3):
        # Every vertex has two places in the layout, at the same spot: neighbours are cut apart.
        lines.append("f " + " ".join(f"{v + 1}/{2 * v + 1 + number % 2}" for v in face))
    (tmp_path / "layout.obj").write_text("\n".join(lines))
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, :32, 2], image[:, 32:, 0], image[:32, :, 1] = 255, 255, 255  # OpenCV's order: BGR
    cv2.imwrite(str(tmp_path / "b.png"), image)
    cv2.imwrite(str(tmp_path / "a.jpg"), np.full((16, 16, 3), 200, np.uint8))
    return tmp_path


def test_the_image_lies_where_the_layout_says(licensed, folder) -> None:
    figure = dress(licensed, AVATAR, folder)
    assert set(figure.dyes_V) == {"skin"}  # it wears nothing else
    rotations = np.zeros((1, NUM_JOINTS, 3), np.float32)
    rotations[0, 0] = cv2.Rodrigues(np.diag([1.0, -1.0, -1.0]))[0].ravel()
    vertices = figure.pose(rotations, np.array([[0, 0, 2.6]], np.float32))[0]
    renderer = Renderer(RenderConfig())
    flat = Light(ambient=(1.3, 1.3, 1.3), key=(0, 0, 0))
    drawn = renderer.render([(figure, vertices)], CAMERA, width=200, height=150, light=flat, normals=True)
    again = renderer.render([(figure, vertices)], CAMERA, width=200, height=150, light=flat)
    renderer.close()
    np.testing.assert_array_equal(drawn.color_HW3, again.color_HW3)
    red, green, blue = (drawn.color_HW3[..., channel] > 100 for channel in range(3))
    rows, columns = np.nonzero(drawn.mask_HW & (red ^ blue))
    assert len(rows) > 300
    # Seen from the front, the layout's left is the picture's left, and its top the head.
    assert red[rows, columns][columns < 95].mean() > 0.95
    assert blue[rows, columns][columns > 105].mean() > 0.95
    feet, head = np.percentile(rows, 90), np.percentile(rows, 10)
    assert green[rows, columns][rows < head].mean() > 0.95
    assert green[rows, columns][rows > feet].mean() < 0.05


def test_light_does_not_show_the_cuts(licensed, folder) -> None:
    """Corners that are one vertex of the body have one normal."""
    figure = dress(licensed, AVATAR, folder)
    still = figure.pose(np.zeros((1, NUM_JOINTS, 3)), np.zeros((1, 3)))[0]
    detail = figure.detail(0.0)
    normals = detail.normals(still[detail.used])
    vertex = figure.paint.vertex_V[detail.used]
    order = np.argsort(vertex, kind="stable")
    same = np.flatnonzero(np.diff(vertex[order]) == 0)
    assert len(same) > 1000
    np.testing.assert_allclose(normals[order[same]], normals[order[same + 1]], atol=1e-6)


def test_the_avatar_decides_which_image(licensed, folder) -> None:
    first = dress(licensed, dataclasses.replace(AVATAR, fold=0.1), folder)
    assert first.paint.image.shape == (16, 16, 3)
    assert dress(licensed, AVATAR, folder).paint.image.shape == (64, 64, 3)


def test_what_does_not_fit_is_a_sentence(tmp_path, licensed, folder) -> None:
    with pytest.raises(UserError, match="there is no folder"):
        RenderConfig(textures=Path("nowhere"))
    with pytest.raises(UserError, match="6890 vertices, and the body has"):
        dress(load_body(), AVATAR, folder)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match="must hold images"):
        dress(licensed, AVATAR, empty)
    (empty / "a.png").write_bytes(b"no image")
    (empty / "a.obj").write_text("v 0 0 0\nvt 0 0\nf 1/1 2/1 3/1\n")
    with pytest.raises(UserError, match="not a Wavefront file"):
        dress(licensed, AVATAR, empty)
