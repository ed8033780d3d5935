"""The packaged network brings people nearer to the light of rooms it never saw, and names what it shades."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from raymaskdp.anonymize.background.config import PlateConfig
from raymaskdp.anonymize.compose.config import CompositeConfig
from raymaskdp.anonymize.compose.diffusion import relight
from raymaskdp.anonymize.compose.diffusion.relight import Relight
from raymaskdp.anonymize.compose.harmonize import owners
from raymaskdp.anonymize.compose.refiner import Refined, Shot
from raymaskdp.anonymize.compose.synthesis.drawn import empty
from raymaskdp.benchmarks.diffusion.refine import composed
from raymaskdp.benchmarks.diffusion.relight import METHODS, benchmark_relight
from raymaskdp.benchmarks.settings.avatars import RelightConfig
from raymaskdp.bodies.render import Rendered
from raymaskdp.errors import UserError
from raymaskdp.synthetic import rooms
from raymaskdp.synthetic.relight.config import RefinerTrainingConfig
from raymaskdp.synthetic.relight.scenes import FPS, LitScene, lit_scenes
from raymaskdp.synthetic.relight.shade import past_body, past_boxes
from raymaskdp.synthetic.relight.training import train_refiner
from raymaskdp.video import masks

FRAMES = 3


@pytest.fixture(scope="module")
def scene() -> LitScene:
    torch.set_num_threads(1)
    (made,) = lit_scenes(77, 1, frames=FRAMES)
    return made


def refiner(scene: LitScene) -> Relight:
    return Relight((scene.motion,), scene.motion.camera_33, FPS)


@pytest.fixture(scope="module")
def done(scene: LitScene) -> list[Refined]:
    return list(refiner(scene).over(scene.shots))


def same(some: list[Refined], others: list[Refined]) -> None:
    for one, other in zip(some, others, strict=True):
        for name in ("backdrop_HW3", "avatar_HW3", "shaded_HW"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_what_is_shaded_is_named_and_nothing_else_changes(scene: LitScene) -> None:
    before = [(shot.emptied_HW3.copy(), shot.drawn.color_HW3.copy()) for shot in scene.shots]
    layers = list(refiner(scene).over(scene.shots))
    for shot, plain, made, (emptied, drawn) in zip(scene.shots, scene.plain, layers, before, strict=True):
        own_HW = shot.drawn.mask_HW
        differs_HW = (made.avatar_HW3 != plain.avatar_HW3).any(axis=2)
        assert differs_HW[own_HW].mean() > 0.5
        assert not made.avatar_HW3[~own_HW].any()
        shaded_HW = (made.backdrop_HW3 != shot.emptied_HW3).any(axis=2)
        assert shaded_HW.any()
        assert made.shaded_HW[shaded_HW].all()
        crop = relight.relit_crop(own_HW, None)
        outside_HW = np.ones_like(own_HW)
        outside_HW[crop.inside(*own_HW.shape)] = False
        np.testing.assert_array_equal(made.backdrop_HW3[outside_HW], plain.backdrop_HW3[outside_HW])
        np.testing.assert_array_equal(shot.emptied_HW3, emptied)
        np.testing.assert_array_equal(shot.drawn.color_HW3, drawn)  # of the avatar layer


def test_a_video_can_be_taken_up_again(scene: LitScene, done: list[Refined]) -> None:
    first, second = refiner(scene), refiner(scene)
    made = list(first.over(scene.shots[:1]))
    state = first.state()
    assert len(state) < 70_000
    second.resume(state)
    same(done, made + list(second.over(scene.shots[1:])))


def test_the_source_has_no_way_in(scene: LitScene) -> None:
    """Other people under the masks, and sources that turn to noise once they are emptied, change no bit."""
    rng = np.random.default_rng(1)

    def emptied(person: int, *, spoil: bool) -> Iterator[Shot]:
        for shot in scene.shots[:2]:
            mask_HW = masks.dilate(shot.drawn.mask_HW, 4)
            source_HW3 = np.where(mask_HW[..., None], person, shot.emptied_HW3).astype(np.uint8)
            # Without a plate, each frame is filled by itself.
            left_HW3 = empty(source_HW3, mask_HW, None, PlateConfig(), CompositeConfig()).frame_HW3
            yield dataclasses.replace(shot, emptied_HW3=left_HW3)
            if spoil:
                source_HW3[:] = rng.integers(0, 255, source_HW3.shape)

    one, other = (
        np.stack(composed(refiner(scene), list(emptied(person, spoil=spoil)), CompositeConfig()))
        for person, spoil in ((30, False), (220, True))
    )
    np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_people_come_nearer_to_their_rooms_light() -> None:
    """Rooms and people of a seed that the network was not taught on."""
    result = benchmark_relight(RelightConfig(seed=78, scenes=2, frames=2, width=160, height=120))
    rows = {(row.method, row.figure): row for row in result.rows}
    assert {method for method, _ in rows} == set(METHODS)
    for figure in ("PSNR, person", "PSNR, beside", "PSNR, both"):
        assert rows["embedded", figure].gain > 0.2
        assert rows["true factors", figure].gain > rows["embedded", figure].gain


def test_the_network_can_be_taught_again(tmp_path: Path) -> None:
    """The command writes a file that loads, and takes up what it drew before."""
    settings = RefinerTrainingConfig(rooms=1, lights=1, frames=2, steps=2, batch=2)
    result = train_refiner(tmp_path / "one.safetensors", tmp_path, settings)
    assert result.pairs == 2
    train_refiner(tmp_path / "two.safetensors", tmp_path, settings)
    one, two = (relight.load(tmp_path / f"{name}.safetensors").state_dict() for name in ("one", "two"))
    usual = relight.packaged().state_dict()
    assert all(torch.equal(one[name], two[name]) for name in usual)
    assert any(not torch.equal(one[name], usual[name]) for name in usual)
    (tmp_path / "none.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match=r"none\.safetensors"):
        relight.load(tmp_path / "none.safetensors")


def test_pixels_belong_to_the_nearest_person(scene: LitScene) -> None:
    """One to the left and one to the right of the camera's axis; who is not visible owns nothing."""
    left, right = (
        dataclasses.replace(
            scene.motion,
            translation_T3=np.tile(np.array([x, 0, 3], np.float32), (FRAMES, 1)),
            visible_T=np.ones(FRAMES, bool),
        )
        for x in (-1, 1)
    )
    mask_HW = np.zeros((8, 10), bool)
    mask_HW[2:6] = True
    drawn = Rendered(
        color_HW3=np.zeros((8, 10, 3), np.uint8), depth_HW=3 * mask_HW.astype(np.float32), mask_HW=mask_HW
    )
    camera_33 = np.array([[4.0, 0, 5], [0, 4.0, 4], [0, 0, 1]])
    owner_HW = owners(drawn, (left, right), 0, camera_33)
    np.testing.assert_array_equal(owner_HW[3], [0] * 5 + [1] * 5)
    assert (owner_HW[~mask_HW] == -1).all()
    hidden = dataclasses.replace(left, visible_T=np.zeros(FRAMES, bool))
    assert (owners(drawn, (hidden, right), 0, camera_33)[mask_HW] == 1).all()


def test_the_shadow_of_a_ball_is_where_geometry_says() -> None:
    """Of a ball above a floor, lit from a place: rays that come nearer to its middle than its radius."""
    rng = np.random.default_rng(0)
    ball = rng.standard_normal((20_000, 3))
    middle, radius = np.array([0.2, 1.0, -0.1]), 0.5
    ball = (middle + radius * ball / np.linalg.norm(ball, axis=1, keepdims=True)).astype(np.float32)
    lamp = np.array([1.0, 3.0, 0.5])
    floor = np.zeros((4000, 3))
    floor[:, [0, 2]] = rng.uniform(-2, 1.5, (4000, 2))
    (reached,) = past_body(ball, lamp[None], (floor,), side=112)
    way = (floor - lamp) / np.linalg.norm(floor - lamp, axis=1, keepdims=True)
    nearest = np.linalg.norm(np.cross(middle - lamp, way), axis=1)
    clear = np.abs(nearest - radius) > 0.03  # the picture of depth has pixels of a centimetre
    assert 0.05 < (nearest < radius).mean() < 0.5
    np.testing.assert_array_equal(reached[0, clear], (nearest > radius)[clear])


def test_furniture_throws_shadows_where_rays_meet_it() -> None:
    room = rooms.draw_room(np.random.default_rng(4))
    rng = np.random.default_rng(5)
    points = rng.uniform(room.low + 0.05, room.high - 0.05, (300, 3))
    lamp = np.array([0.1, 2.2, 1.0])
    reached = past_boxes(room, points, lamp[None])[0]
    along = np.linspace(0, 1, 2000)[1:, None, None]
    ways = points + along * (lamp - points)
    met = np.zeros(len(points), bool)
    for box in room.boxes:
        if float(np.min(box.high - box.low)) > 0.025:
            met |= ((ways > box.low) & (ways < box.high)).all(axis=2).sum(axis=0) > 2
    assert met.any()
    assert (reached.astype(bool) == ~met).mean() > 0.98  # rays that graze a corner may differ
