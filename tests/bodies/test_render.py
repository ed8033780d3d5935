import dataclasses
import gc
import os
import subprocess
import sys
import threading

import cv2
import numpy as np
import pytest

from raymaskdp.bodies.avatar import draw_avatar
from raymaskdp.bodies.body import load_body
from raymaskdp.bodies.egl import preferred_devices
from raymaskdp.bodies.figure import dress
from raymaskdp.bodies.render import Renderer
from raymaskdp.bodies.settings.render import Light, RenderConfig
from raymaskdp.bodies.skeleton import NUM_JOINTS
from raymaskdp.errors import UserError

WIDTH, HEIGHT = 200, 150
CAMERA = np.array([[170.0, 0, 93.3], [0, 170.0, 81.7], [0, 0, 1]])


@pytest.fixture(scope="module")
def figure():
    return dress(load_body(), draw_avatar(b"secret", "someone"))


@pytest.fixture(scope="module")
def renderer():
    made = Renderer(RenderConfig())
    yield made
    made.close()


def _posed(figure, *, place=(0.0, 0.1, 2.6), yaw=0.4, seed=0):
    rotations = np.random.default_rng(seed).normal(0, 0.15, (1, NUM_JOINTS, 3)).astype(np.float32)
    upright = cv2.Rodrigues(np.array([np.pi, 0, 0]))[0] @ cv2.Rodrigues(np.array([0, yaw, 0.0]))[0]
    rotations[0, 0] = cv2.Rodrigues(upright)[0].ravel()
    return figure.pose(rotations, np.array([place], dtype=np.float32))[0]


def _project(vertices, camera=CAMERA):
    """Our own projection, written out."""
    return (camera @ (vertices / vertices[:, 2:]).T).T[:, :2]


def _silhouette(figure, vertices, camera=CAMERA, width=WIDTH, height=HEIGHT, scale=8):
    """Coverage of the triangles seen from their front, filled by OpenCV at `scale` times the size."""
    fine = np.zeros((height * scale, width * scale), dtype=np.uint8)
    points = _project(vertices, camera)[figure.faces_F3] * scale
    first, second = points[:, 1] - points[:, 0], points[:, 2] - points[:, 0]
    front = first[:, 0] * second[:, 1] < first[:, 1] * second[:, 0]  # y points down
    for triangle in points[front]:
        # OpenCV's coordinates are those of pixel centres.
        cv2.fillConvexPoly(fine, np.round((triangle - 0.5) * 16).astype(np.int32), 1, shift=4)
    return fine.reshape(height, scale, width, scale).mean(axis=(1, 3))


def test_the_mask_is_where_the_projected_mesh_is(figure, renderer):
    vertices = _posed(figure)
    drawn = renderer.render([(figure, vertices)], CAMERA, width=WIDTH, height=HEIGHT)
    coverage = _silhouette(figure, vertices)
    reference = coverage > 0.5
    iou = (drawn.mask_HW & reference).sum() / (drawn.mask_HW | reference).sum()
    assert iou > 0.97
    assert not drawn.mask_HW[coverage == 0].any() or drawn.mask_HW[coverage == 0].mean() < 1e-3
    # A shift of half a pixel would show in the moments.
    for mask in (drawn.mask_HW, reference):
        assert 1500 < mask.sum() < 15000
    centre = [np.argwhere(mask).mean(axis=0) for mask in (drawn.mask_HW, reference)]
    np.testing.assert_allclose(*centre, atol=0.2)


def test_depth_is_the_distance_of_the_surface(figure, renderer):
    vertices = _posed(figure)
    drawn = renderer.render([(figure, vertices)], CAMERA, width=WIDTH, height=HEIGHT)
    pixels = np.floor(_project(vertices)).astype(int)
    inside = (pixels >= 0).all(axis=1) & (pixels < [WIDTH, HEIGHT]).all(axis=1)
    nearest = np.full((HEIGHT, WIDTH), np.inf)
    np.minimum.at(nearest, (pixels[inside, 1], pixels[inside, 0]), vertices[inside, 2])
    known = np.isfinite(nearest) & cv2.erode(drawn.mask_HW.astype(np.uint8), np.ones((3, 3))).astype(bool)
    error = drawn.depth_HW[known] - nearest[known]
    assert known.sum() > 500
    assert np.median(np.abs(error)) < 0.015
    assert (drawn.depth_HW[drawn.mask_HW] > 1).all()
    assert (drawn.depth_HW[drawn.mask_HW] < 4).all()


def test_pixels_are_an_avatars_wholly_or_zero(figure, renderer):
    """White clothes on nothing: an edge mixed with the black background would be grey."""
    white = dress(load_body(), dataclasses.replace(draw_avatar(b"s", "n"), outfit="sweater and trousers"))
    white._details = tuple(
        dataclasses.replace(detail, colors_U3=np.ones_like(detail.colors_U3)) for detail in white._details
    )
    flat = Light(ambient=(8.0, 8.0, 8.0), key=(0.0, 0.0, 0.0))
    drawn = renderer.render([(white, _posed(white))], CAMERA, width=WIDTH, height=HEIGHT, light=flat)
    assert (drawn.color_HW3[drawn.mask_HW] >= 253).all()
    assert (drawn.color_HW3[~drawn.mask_HW] == 0).all()
    assert (drawn.depth_HW[~drawn.mask_HW] == 0).all()
    assert (drawn.depth_HW[drawn.mask_HW] > 0).all()


def test_the_same_call_gives_the_same_bytes_whatever_was_drawn_before(figure, renderer):
    first = renderer.render([(figure, _posed(figure))], CAMERA, width=WIDTH, height=HEIGHT)
    renderer.render([(figure, _posed(figure, yaw=2.0))], CAMERA, width=60, height=90)
    again = renderer.render([(figure, _posed(figure))], CAMERA, width=WIDTH, height=HEIGHT)
    np.testing.assert_array_equal(first.color_HW3, again.color_HW3)
    np.testing.assert_array_equal(first.depth_HW, again.depth_HW)
    np.testing.assert_array_equal(first.mask_HW, again.mask_HW)


def test_drawing_a_part_of_the_frame_is_drawing_the_frame(figure, renderer):
    """The region that is drawn follows the person; the picture does not depend on it."""
    vertices = _posed(figure)
    wide = CAMERA.copy()
    wide[0, 2] += 64
    wide[1, 2] += 40
    small = renderer.render([(figure, vertices)], CAMERA, width=WIDTH, height=HEIGHT)
    large = renderer.render([(figure, vertices)], wide, width=WIDTH + 128, height=HEIGHT + 80)
    window = large.mask_HW[40 : 40 + HEIGHT, 64 : 64 + WIDTH]
    assert (small.mask_HW != window).mean() < 1e-3
    color = large.color_HW3[40 : 40 + HEIGHT, 64 : 64 + WIDTH].astype(int)
    same = small.mask_HW & window
    assert np.abs(color[same] - small.color_HW3[same]).mean() < 1


def test_the_nearer_of_two_people_is_in_front(figure, renderer):
    other = dress(load_body(), draw_avatar(b"secret", "someone else"))
    near, far = _posed(figure, place=(0, 0.1, 2.4)), _posed(other, place=(0.15, 0.1, 3.4))
    both = renderer.render([(other, far), (figure, near)], CAMERA, width=WIDTH, height=HEIGHT)
    alone = renderer.render([(figure, near)], CAMERA, width=WIDTH, height=HEIGHT)
    behind = renderer.render([(other, far)], CAMERA, width=WIDTH, height=HEIGHT)
    inner = cv2.erode(alone.mask_HW.astype(np.uint8), np.ones((3, 3))).astype(bool)
    change = np.abs(both.color_HW3[inner].astype(int) - alone.color_HW3[inner])
    assert (change > 2).mean() < 0.02  # the other figure's region moves the sampling by rounding only
    assert (both.mask_HW == (alone.mask_HW | behind.mask_HW)).mean() > 0.999


def test_people_out_of_sight_leave_nothing_and_people_at_the_edge_are_cut(figure, renderer):
    for place in ((0, 0, -3.0), (9.0, 0, 3.0)):
        drawn = renderer.render([(figure, _posed(figure, place=place))], CAMERA, width=WIDTH, height=HEIGHT)
        assert not drawn.mask_HW.any()
        assert not drawn.color_HW3.any()
    edge = renderer.render(
        [(figure, _posed(figure, place=(1.45, 0, 2.6)))], CAMERA, width=WIDTH, height=HEIGHT
    )
    assert edge.mask_HW[:, -1].any()
    assert not renderer.render([], CAMERA, width=WIDTH, height=HEIGHT).mask_HW.any()


def test_someone_who_reaches_behind_the_camera_is_still_drawn(figure, renderer):
    close = _posed(figure, place=(0.1, 0.3, 0.25))
    assert (close[:, 2] < 0).any()
    drawn = renderer.render([(figure, close)], CAMERA, width=WIDTH, height=HEIGHT)
    assert drawn.mask_HW.mean() > 0.2


def test_light_comes_from_where_it_is_said_to_come(figure, renderer):
    vertices = _posed(figure, yaw=0.0)
    means = []
    for x in (-1.0, 1.0):
        light = Light(ambient=(0.1, 0.1, 0.1), key=(0.8, 0.8, 0.8), direction=(x, -0.2, -0.3))
        drawn = renderer.render([(figure, vertices)], CAMERA, width=WIDTH, height=HEIGHT, light=light)
        columns = np.argwhere(drawn.mask_HW)[:, 1]
        values = drawn.color_HW3[drawn.mask_HW].mean(axis=1)
        means.append(np.corrcoef(columns, values)[0, 1])
    assert means[0] < -0.1 < 0.1 < means[1]


def test_a_renderer_made_in_one_thread_draws_in_another(figure):
    """Ray constructs an actor's stage in one thread and calls it in another."""
    made, results = Renderer(RenderConfig()), []

    def work():
        results.append(made.render([(figure, _posed(figure))], CAMERA, width=WIDTH, height=HEIGHT))
        made.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert results[0].mask_HW.any()


@pytest.mark.parametrize("lacking", ["libEGL.so.1", "drivers"])
def test_a_machine_without_egl_is_told_what_to_install(tmp_path, lacking):
    """The loader is pointed at something else in place of a library, or of Mesa's drivers."""
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
    if lacking == "drivers":
        environment["LIBGL_DRIVERS_PATH"] = str(tmp_path)
    else:
        (tmp_path / lacking).write_bytes(b"not a library")
    code = (
        "from raymaskdp.bodies.render import RenderConfig, Renderer\n"
        "from raymaskdp.errors import UserError\n"
        "try:\n"
        "    Renderer(RenderConfig()).start()\n"
        "except UserError as error:\n"
        "    print('TOLD:', error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert "TOLD:" in done.stdout, done.stderr
    assert "apt-get install libegl1 libgl1 libgl1-mesa-dri" in done.stdout


@pytest.mark.parametrize(
    ("visible", "order"),
    [
        (None, ["gpu 0", "gpu 1", "gpu 2", "software"]),
        ("2", ["gpu 2", "software"]),
        ("1,0", ["gpu 1", "software"]),
        ("", ["software"]),
        ("7", ["software"]),  # assigned, but not there
    ],
)
def test_the_assigned_gpu_is_taken_and_no_other(monkeypatch, visible, order):
    """EGL lists devices in an order of its own."""
    cuda = {"gpu 1": 1, "software": None, "gpu 0": 0, "gpu 2": 2}
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert preferred_devices(list(cuda), cuda.get) == order


@pytest.mark.parametrize("ending", ["close", "forgotten"])
def test_one_renderer_that_ends_does_not_end_another(figure, renderer, ending):
    """Neither when it is closed nor when it is collected as garbage while the other is in use."""
    other = Renderer(RenderConfig())
    arguments = {"camera_33": CAMERA, "width": WIDTH, "height": HEIGHT}
    first = renderer.render([(figure, _posed(figure))], **arguments)
    other.render([(figure, _posed(figure))], **arguments)
    if ending == "forgotten":
        renderer.render([(figure, _posed(figure))], **arguments)  # now this one's context is current
    getattr(other, ending, gc.collect)()
    del other
    gc.collect()
    again = renderer.render([(figure, _posed(figure))], **arguments)
    np.testing.assert_array_equal(first.color_HW3, again.color_HW3)


def test_bad_light_is_refused():
    with pytest.raises(UserError, match="key must be"):
        Light(key=(0.5, -1.0, 0.5))
    with pytest.raises(UserError, match="direction"):
        Light(direction=(0.0, 0.0, 0.0))


def test_normals_are_those_of_the_depth(figure, renderer):
    """An independent source: the slope of the surface that the depth map describes."""
    vertices = _posed(figure, yaw=0.0)
    drawn = renderer.render([(figure, vertices)], CAMERA, width=WIDTH, height=HEIGHT, normals=True)
    plain = renderer.render([(figure, vertices)], CAMERA, width=WIDTH, height=HEIGHT)
    assert plain.normals_HW3 is None
    np.testing.assert_array_equal(plain.color_HW3, drawn.color_HW3)
    lengths = np.linalg.norm(drawn.normals_HW3, axis=2)
    np.testing.assert_allclose(lengths[drawn.mask_HW], 1, atol=1e-5)
    assert not lengths[~drawn.mask_HW].any()
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    depth = cv2.GaussianBlur(drawn.depth_HW, (0, 0), 1.0)
    points = np.stack([(columns - CAMERA[0, 2]) / CAMERA[0, 0], (rows - CAMERA[1, 2]) / CAMERA[1, 1]], axis=2)
    points = np.concatenate([points * depth[..., None], depth[..., None]], axis=2)
    slope = np.cross(np.gradient(points, axis=0), np.gradient(points, axis=1))
    slope /= np.maximum(np.linalg.norm(slope, axis=2, keepdims=True), 1e-12)
    deep = cv2.erode(drawn.mask_HW.astype(np.uint8), np.ones((9, 9))).astype(bool)
    assert deep.sum() > 300
    cosine = (slope * drawn.normals_HW3).sum(axis=2)[deep]
    assert np.median(cosine) > 0.93
    assert (drawn.normals_HW3[deep][:, 2] < 0.2).all()  # they face the camera
