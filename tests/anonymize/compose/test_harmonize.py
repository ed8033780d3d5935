"""Light and shadow come from the emptied scene and the render, and leave the avatar layer alone."""

import cv2
import numpy as np
import pytest

from raymaskdp.anonymize.compose.harmonize import Harmonize, Unrefined, relight
from raymaskdp.bodies.avatar import draw_avatar
from raymaskdp.bodies.body import load_body
from raymaskdp.bodies.figure import dress
from raymaskdp.bodies.motion import Motion
from raymaskdp.bodies.render import Rendered, Renderer
from raymaskdp.bodies.settings.render import RenderConfig
from raymaskdp.bodies.skeleton import NUM_JOINTS

WIDTH, HEIGHT, FPS = 160, 120, 10.0
CAMERA = np.array([[150.0, 0, 80], [0, 150.0, 60], [0, 0, 1]])


def motion(lifts: list[float], drop: float = 0.1) -> Motion:
    """A person standing upright in the picture, raised by `lifts` metres in each frame."""
    frames = len(lifts)
    rotations = np.zeros((frames, NUM_JOINTS, 3), np.float32)
    rotations[:, 0] = cv2.Rodrigues(np.diag([1.0, -1.0, -1.0]))[0].ravel()
    translation = np.array([[0, drop - lift, 3.6] for lift in lifts], np.float32)
    return Motion(
        rotations_TJ3=rotations,
        translation_T3=translation,
        visible_T=np.ones(frames, bool),
        betas_S=draw_avatar(b"r", "a").betas_S,
        camera_33=CAMERA,
        track_id=0,
    )


@pytest.fixture(scope="module")
def draw():
    figure, renderer = dress(load_body(), draw_avatar(b"r", "a")), Renderer(RenderConfig())

    def drawn(moving: Motion, index: int) -> Rendered:
        posed = figure.pose(moving.rotations_TJ3[[index]], moving.translation_T3[[index]])[0]
        return renderer.render([(figure, posed)], CAMERA, width=WIDTH, height=HEIGHT)

    yield drawn
    renderer.close()


def gray(level: int) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), level, np.uint8)


def test_the_shadow_lies_at_the_feet_and_fades_with_a_jump(draw) -> None:
    lifts = [0.0, 0.0, 0.15, 0.3]
    moving = motion(lifts)
    refine = Harmonize((moving,), CAMERA, FPS)
    darkest = []
    for index in range(len(lifts)):
        drawn = draw(moving, index)
        refined = refine(gray(150), drawn, index)
        shadow = 150 - refined.backdrop_HW3.astype(int).min(axis=2)
        assert not shadow[drawn.mask_HW].any()  # the backdrop is not changed where avatars hide it
        np.testing.assert_array_equal(shadow > 0, refined.shaded_HW & (shadow > 0))
        np.testing.assert_array_equal(refined.backdrop_HW3[~refined.shaded_HW], 150)
        darkest.append(int(shadow.max()))
        if index == 0:
            rows, columns = np.nonzero(shadow > 20)
            feet = np.nonzero(draw(moving, 0).mask_HW)[0].max()
            assert abs(rows.mean() - feet) < 6
            assert abs(columns.mean() - 80) < 8
            assert not shadow[: int(feet) - 25].any()
    assert darkest[0] > 25
    assert darkest[0] > darkest[2] + 5 > darkest[3] + 10


def test_a_jump_that_is_cut_in_two_goes_on(draw) -> None:
    """The floor is remembered from before: a body in the air at the cut throws its shadow down there."""
    moving = motion([0.0, 0.0, 0.15, 0.3])
    whole, before, after, cold = (Harmonize((moving,), CAMERA, FPS) for _ in range(4))
    made = [whole(gray(150), draw(moving, index), index) for index in range(4)]
    for index in range(2):
        before(gray(150), draw(moving, index), index)
    after.resume(before.state())
    for index in (2, 3):
        again = after(gray(150), draw(moving, index), index)
        np.testing.assert_array_equal(again.backdrop_HW3, made[index].backdrop_HW3)
    assert (cold(gray(150), draw(moving, 2), 2).backdrop_HW3 != made[2].backdrop_HW3).any()


def test_feet_out_of_the_picture_throw_no_shadow(draw) -> None:
    moving = motion([0.0], drop=0.9)
    drawn = draw(moving, 0)
    assert drawn.mask_HW[-1].any()
    refined = Harmonize((moving,), CAMERA, FPS)(gray(150), drawn, 0)
    assert not refined.shaded_HW.any()


def test_avatars_take_on_the_scenes_light(draw) -> None:
    drawn = draw(motion([0.0]), 0)
    inside = drawn.mask_HW
    dark, bright = (relight(drawn, gray(level))[inside].mean() for level in (40, 180))
    assert dark < 0.75 * drawn.color_HW3[inside].mean() < 0.95 * bright
    warm = gray(100)
    warm[..., 2] = 60
    red, _, blue = (
        relight(drawn, warm)[inside].mean(axis=0) / relight(drawn, gray(100))[inside].mean(axis=0)
    ).T
    assert red > 1.08 * blue
    assert not relight(drawn, warm)[~inside].any()


def test_light_from_one_side_is_seen_on_that_side(draw) -> None:
    drawn = draw(motion([0.0]), 0)
    scene = gray(60)
    scene[:, : WIDTH // 2] = 200
    ratio = relight(drawn, scene).sum(axis=2) / np.maximum(drawn.color_HW3.sum(axis=2), 1)
    columns = np.arange(WIDTH) * np.ones((HEIGHT, 1))
    inside = drawn.mask_HW & (drawn.color_HW3.min(axis=2) > 20)
    assert np.corrcoef(columns[inside], ratio[inside])[0, 1] < -0.5


def test_a_matched_exposure_is_nearer_to_the_truth(draw) -> None:
    """Avatars filmed by a darker or a warmer camera: harmonized renders are closer to that film."""
    drawn = draw(motion([0.0]), 0)
    room = np.full((HEIGHT, WIDTH, 3), (112, 106, 100), np.uint8)
    room[90:] = (90, 80, 70)
    for camera in ((0.4, 0.4, 0.4), (0.5, 0.45, 0.35), (1.7, 1.7, 1.7)):

        def film(picture: np.ndarray) -> np.ndarray:
            linear = np.clip((picture / 255) ** 2.2 * camera, 0, 1)  # noqa: B023
            return np.rint(255 * linear ** (1 / 2.2)).astype(np.uint8)

        truth = film(drawn.color_HW3)[drawn.mask_HW]
        before = cv2.PSNR(drawn.color_HW3[drawn.mask_HW], truth)
        after = cv2.PSNR(relight(drawn, film(room))[drawn.mask_HW], truth)
        assert after > before + 1.5


def test_the_render_and_the_emptied_frame_are_left_alone(draw) -> None:
    """What is published as the avatar layer is the render, whatever the composite shows."""
    moving = motion([0.0])
    drawn, emptied = draw(moving, 0), gray(150)
    before = drawn.color_HW3.copy()
    for make in (Unrefined, Harmonize):
        refined = make((moving,), CAMERA, FPS)(emptied, drawn, 0)
        np.testing.assert_array_equal(drawn.color_HW3, before)
        np.testing.assert_array_equal(emptied, 150)
        if make is Unrefined:
            np.testing.assert_array_equal(refined.avatar_HW3, before)
            np.testing.assert_array_equal(refined.backdrop_HW3, 150)
            assert not refined.shaded_HW.any()
