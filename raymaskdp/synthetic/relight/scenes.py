"""People in rooms with random light: training and evaluation data of the bundled relighting network.

The light is a lamp of some size, place and colour, and ambient light. The lamp affects the empty room, too:
walls are brighter near it, and furniture casts shadows. For every frame there are the inputs of a refiner,
with a render under the renderer's own light, and the true frame: the person under the room's light, and the
shadow on floor, walls and the person's own body. Occlusion by the person uses shadow maps (Williams 1978);
occlusion by furniture is exact.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from raymaskdp.anonymize.compose.composite import overlay
from raymaskdp.anonymize.compose.config import CompositeConfig
from raymaskdp.anonymize.compose.harmonize import Harmonize
from raymaskdp.anonymize.compose.refiner import Refined, Shot
from raymaskdp.bodies.avatar import Avatar, draw_avatar
from raymaskdp.bodies.body import load_body
from raymaskdp.bodies.figure import Figure, dress
from raymaskdp.bodies.motion import Motion
from raymaskdp.bodies.render import Rendered, Renderer
from raymaskdp.bodies.settings.render import Light, RenderConfig
from raymaskdp.synthetic import rooms
from raymaskdp.synthetic.perform import PERFORMED, perform
from raymaskdp.synthetic.poses import draw_manner
from raymaskdp.synthetic.relight.shade import SKIN_M, directions_around, middle_of, past_body, past_boxes

# Shape suffixes: T frames, V vertices, H rows and W columns, N points, K sample points of light sources.

GAMMA = 2.2
FPS = 6.0

EXPOSURE = (0.09, 0.28)
"""Range of the mean linear value of an image of an empty room, as of automatic exposure."""

KEY = (0.35, 2.2)
"""Range of the lamp's brightness relative to the ambient light."""

WARMTH = 0.15
"""Largest logarithm of red over green, and of green over blue, of each light and of the white balance."""

REFLECTED = 1.45
"""Ratio of the brightness of avatars' colours to rooms'. With it `harmonize` is right on average, so only the
differences between scenes have to be learned."""

LENS_PX = 0.6
"""Blur of outlines, in pixels."""

EVERYWHERE, LAMP = 28, 5
"""Sample points of the ambient light, and of the lamp."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LitScene:
    """An avatar in a room, with the ground truth.

    Attributes:
      avatar, figure, motion: the person and the action.
      shots: the inputs of refiners, with normals.
      plain: the output of `harmonize`.
      floors: position of the floor along `up` under the person, as `harmonize` estimates it; None without an
        estimate.
      lit: the avatars under the room's light, float32 [H, W, 3] in levels, 0 outside their mask.
      shaded: the emptied frames with the person's shadow, float32 [H, W, 3].
      truth: the true frames, uint8 [H, W, 3].
    """

    avatar: Avatar
    figure: Figure
    motion: Motion
    shots: list[Shot]
    plain: list[Refined]
    floors: list[float | None]
    lit: list[np.ndarray]
    shaded: list[np.ndarray]
    truth: list[np.ndarray]

    def harmonized(self, index: int) -> np.ndarray:
        """The frame after `harmonize`, uint8 [H, W, 3]."""
        layers, mask_HW = self.plain[index], self.shots[index].drawn.mask_HW
        return overlay(layers.backdrop_HW3, layers.avatar_HW3, mask_HW, CompositeConfig())


@dataclass(frozen=True, kw_only=True, eq=False)
class _Lit:
    """The light of one scene: place and colour of the lamp, and colour of the ambient light."""

    lamp_K3: np.ndarray
    key_3: np.ndarray
    everywhere_3: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class _Posed:
    """A person in one frame, in world coordinates.

    Attributes:
      drawn: the render under the renderer's light.
      vertices_V3: the mesh.
      points_N3, normals_N3: of the pixels that show the person.
      room_N1: share of the ambient light at each pixel of the room that the person does not block.
      own_N1: share of the ambient light at the person's pixels; 1 for a surface that faces the ceiling.
    """

    drawn: Rendered
    vertices_V3: np.ndarray
    points_N3: np.ndarray
    normals_N3: np.ndarray
    room_N1: np.ndarray
    own_N1: np.ndarray


def lit_scenes(
    seed: int,
    count: int,
    *,
    frames: int,
    lights: int = 1,
    rooms_each: int = 1,
    width: int = 160,
    height: int = 120,
) -> Iterator[LitScene]:
    """`count` rooms, each under `lights` lights; every person is in `rooms_each` rooms. Deterministic in the
    seed.

    Scenes of different seeds share only the kinds of movements and of furniture.
    """
    renderer = Renderer(RenderConfig())
    try:
        for number in range(count):
            rng = np.random.default_rng([seed, number])
            avatar, figure = _person(seed, number // rooms_each)
            room = rooms.draw_room(rng)
            camera = _camera(rng, width, height)
            seen = rooms.trace(room, camera, width=width, height=height)
            motion = _moved(figure, avatar, camera, frames, rng)
            poses = [
                _posed(renderer, figure, vertices_V3, camera, seen, (height, width))
                for vertices_V3 in figure.pose(motion.rotations_TJ3, motion.translation_T3)
            ]
            for _ in range(lights):
                yield _scene(avatar, figure, motion, room, seen, poses, (height, width), rng)
    finally:
        renderer.close()


@functools.lru_cache(maxsize=1)
def _person(seed: int, number: int) -> tuple[Avatar, Figure]:
    avatar = draw_avatar(f"lit {seed}".encode(), str(number))
    return avatar, dress(load_body(), avatar)


def _camera(rng: np.random.Generator, width: int, height: int) -> rooms.RoomCamera:
    away, aside = rng.uniform(3.0, 3.8), rng.uniform(-0.55, 0.55)
    eye = np.array([away * np.sin(aside), rng.uniform(1.1, 2.0), away * np.cos(aside)])
    return rooms.look_at(eye, np.array([0.0, 1.0, 0.0]), focal=1.3 * height, width=width, height=height)


def _moved(
    figure: Figure, avatar: Avatar, camera: rooms.RoomCamera, frames: int, rng: np.random.Generator
) -> Motion:
    """A person who performs a random movement near the middle of the room, in the camera's frame."""
    action = str(rng.choice(sorted(PERFORMED)))
    done = perform(action, num_frames=frames, fps=FPS, manner=draw_manner(rng), rng=rng)
    rotations_TJ3 = done.rotations_TJ3.copy()
    turned = Rotation.from_euler("y", rng.uniform(-np.pi, np.pi)) * Rotation.from_rotvec(rotations_TJ3[:, 0])
    rotations_TJ3[:, 0] = turned.as_rotvec()
    still_T3 = np.zeros((frames, 3), np.float32)
    place_T3 = np.tile(rng.uniform(-0.3, 0.3, 3), (frames, 1))
    place_T3[:, 1] = done.lift_T - figure.pose(rotations_TJ3, still_T3)[..., 1].min(axis=1)
    rotations_TJ3[:, 0] = (Rotation.from_matrix(camera.rotation_33) * turned).as_rotvec()
    # A body rotates about the rest position of the pelvis and is then shifted.
    pelvis_3 = load_body().rest_joints(avatar.betas_S)[0]
    centre_T3 = (pelvis_3 + place_T3) @ camera.rotation_33.T + camera.translation_3
    return Motion(
        rotations_TJ3=rotations_TJ3.astype(np.float32),
        translation_T3=(centre_T3 - pelvis_3).astype(np.float32),
        visible_T=np.ones(frames, bool),
        betas_S=avatar.betas_S,
        camera_33=camera.intrinsics_33,
        track_id=0,
    )


def _posed(
    renderer: Renderer,
    figure: Figure,
    vertices_V3: np.ndarray,
    camera: rooms.RoomCamera,
    seen: rooms.Traced,
    size: tuple[int, int],
) -> _Posed:
    height, width = size
    intrinsics_33 = camera.intrinsics_33
    drawn = renderer.render([(figure, vertices_V3)], intrinsics_33, width=width, height=height, normals=True)
    assert drawn.normals_HW3 is not None
    rows_N, columns_N = np.nonzero(drawn.mask_HW)
    depth_N1 = drawn.depth_HW[rows_N, columns_N][:, None].astype(np.float64)
    pixels_N2 = np.stack([columns_N, rows_N], axis=1) + 0.5
    rays_N2 = (pixels_N2 - intrinsics_33[:2, 2]) / intrinsics_33[[0, 1], [0, 1]]
    points_N3 = np.concatenate([rays_N2 * depth_N1, depth_N1], axis=1)
    points_N3 = (points_N3 - camera.translation_3) @ camera.rotation_33
    normals_N3 = drawn.normals_HW3[drawn.mask_HW] @ camera.rotation_33
    world_V3 = ((vertices_V3 - camera.translation_3) @ camera.rotation_33).astype(np.float32)

    ways_K3 = directions_around(EVERYWHERE)
    bright_K1 = np.where(ways_K3[:, 1:2] > 0, 1.0, 0.5)  # the floor reflects half
    room_KN, own_KN = past_body(
        world_V3,
        middle_of(world_V3) + 12 * ways_K3,
        (seen.points_N3, points_N3 + SKIN_M * normals_N3),
        side=72,
    )
    facing_KN = (ways_K3 @ seen.normals_N3.T).clip(0) * bright_K1
    room_N = (facing_KN * room_KN).sum(axis=0) / np.maximum(facing_KN.sum(axis=0), 1e-6)
    # Blurred, because each of the few sample points would cast a visible shadow.
    room_HW = cv2.GaussianBlur(room_N.reshape(size).astype(np.float32), (0, 0), height / 45)
    own_N = ((ways_K3 @ normals_N3.T).clip(0) * bright_K1 * own_KN).sum(axis=0)
    ceiling = float((ways_K3[:, 1:2].clip(0) * bright_K1).sum())
    return _Posed(
        drawn=drawn,
        vertices_V3=world_V3,
        points_N3=points_N3.astype(np.float32),
        normals_N3=normals_N3.astype(np.float32),
        room_N1=room_HW.reshape(-1, 1),
        own_N1=own_N[:, None] / ceiling,
    )


def _scene(
    avatar: Avatar,
    figure: Figure,
    motion: Motion,
    room: rooms.Room,
    seen: rooms.Traced,
    poses: list[_Posed],
    size: tuple[int, int],
    rng: np.random.Generator,
) -> LitScene:
    """The poses under a random light."""
    height, width = size
    light = _draw_light(room, rng)
    arriving = _Arriving(room, seen, light)
    seen_N3 = seen.albedo_N3 * arriving.empty_N3
    exposed_3 = np.exp(rng.uniform(*np.log(EXPOSURE))) / seen_N3.mean() * _tint(rng)
    grain_HW3 = rng.standard_normal((height, width, 3), np.float32)
    picture_HW3 = 255 * np.clip(seen_N3 * exposed_3, 0, 1).reshape(height, width, 3) ** (1 / GAMMA)
    emptied_HW3 = _rounded(_blurred(picture_HW3, 0.5) + grain_HW3)
    harmonize = Harmonize((motion,), motion.camera_33, FPS)
    scene = LitScene(
        avatar=avatar,
        figure=figure,
        motion=motion,
        shots=[],
        plain=[],
        floors=[],
        lit=[],
        shaded=[],
        truth=[],
    )
    for index, posed in enumerate(poses):
        scene.shots.append(Shot(index=index, emptied_HW3=emptied_HW3, drawn=posed.drawn))
        scene.plain.append(harmonize(emptied_HW3, posed.drawn, index))
        scene.floors.append(harmonize.floor(0))
        room_KN, own_KN = past_body(
            posed.vertices_V3,
            light.lamp_K3,
            (seen.points_N3, posed.points_N3 + SKIN_M * posed.normals_N3),
            side=112,
        )
        left_N3 = arriving.at_room(posed.room_N1, room_KN) / np.maximum(arriving.empty_N3, 1e-4)
        left_HW3 = np.clip(_blurred(left_N3.reshape(height, width, 3), 0.8), 0, 1)
        shaded_HW3 = (emptied_HW3 * left_HW3 ** np.float32(1 / GAMMA)).astype(np.float32)
        lit_N3 = REFLECTED * _albedo(posed.drawn) * arriving.at_body(posed, own_KN) * exposed_3
        lit_HW3 = np.zeros((height, width, 3), np.float32)
        lit_HW3[posed.drawn.mask_HW] = 255 * np.clip(lit_N3, 0, 1) ** (1 / GAMMA)
        scene.lit.append(lit_HW3)
        scene.shaded.append(shaded_HW3)
        scene.truth.append(_filmed(lit_HW3, shaded_HW3, posed.drawn.mask_HW))
    return scene


class _Arriving:
    """The light that arrives at the surfaces of a scene.

    Attributes:
      empty_N3: at the surfaces of the empty room.
    """

    def __init__(self, room: rooms.Room, seen: rooms.Traced, light: _Lit) -> None:
        self._room, self._light = room, light
        self._open_N1 = rooms.open_share(room, seen.points_N3, seen.normals_N3)[:, None]
        self._glow_N1 = seen.glow_N[:, None]
        self._direct_N1 = _lamp_at(seen.points_N3, seen.normals_N3, light, wrap=0.0) * self._open_N1
        self._past_KN = past_boxes(room, seen.points_N3, light.lamp_K3)
        self.empty_N3 = self.at_room(1.0, 1.0)

    def at_room(self, open_to_all_N1: np.ndarray | float, reached_KN: np.ndarray | float) -> np.ndarray:
        """At the room, [N, 3], given the shares of the two lights that a person does not block."""
        lamp_N1 = self._direct_N1 * (self._past_KN * reached_KN).mean(axis=0)[:, None]
        light_N3 = 0.42 * open_to_all_N1 * self._open_N1 * self._light.everywhere_3
        return np.maximum(light_N3 + lamp_N1 * self._light.key_3, self._glow_N1)

    def at_body(self, posed: _Posed, own_KN: np.ndarray) -> np.ndarray:
        """At a person's pixels, [N, 3], given the share of the lamp that the own body does not block."""
        past_own_N = past_boxes(self._room, posed.points_N3, self._light.lamp_K3[:2]).mean(axis=0)
        lamp_N1 = _lamp_at(posed.points_N3, posed.normals_N3, self._light, wrap=0.25)
        lamp_N1 = lamp_N1 * (own_KN.mean(axis=0) * past_own_N)[:, None]
        light_N3: np.ndarray = 0.42 * posed.own_N1 * self._light.everywhere_3 + lamp_N1 * self._light.key_3
        return light_N3


def _filmed(lit_HW3: np.ndarray, shaded_HW3: np.ndarray, mask_HW: np.ndarray) -> np.ndarray:
    """The avatar over the room, with an outline as soft as a lens makes it; uint8 [H, W, 3]."""
    share_HW1 = _blurred(mask_HW, LENS_PX)[..., None]
    soft_HW3 = _blurred(lit_HW3, LENS_PX) + (1 - share_HW1) * shaded_HW3
    deep_HW1 = mask_HW[..., None] & (share_HW1 > 0.999)
    return _rounded(np.where(deep_HW1, lit_HW3, soft_HW3))


def _draw_light(room: rooms.Room, rng: np.random.Generator) -> _Lit:
    """A lamp above shoulder height, outside furniture, and not directly above the person."""
    low = room.low + np.array([0.3, 1.7, 0.2])
    high = np.array([room.high[0] - 0.3, room.high[1] - 0.1, min(room.high[2] - 0.3, 4.5)])
    while True:
        middle_3 = rng.uniform(low, high)
        inside = [((middle_3 > box.low - 0.1) & (middle_3 < box.high + 0.1)).all() for box in room.boxes]
        if np.hypot(middle_3[0], middle_3[2]) > 0.7 and not any(inside):
            break
    radius = rng.uniform(0.05, 0.35)
    around_K3 = rng.standard_normal((LAMP, 3))
    around_K3 *= radius / np.linalg.norm(around_K3, axis=1, keepdims=True)
    key = np.exp(rng.uniform(*np.log(KEY)))
    return _Lit(lamp_K3=middle_3 + around_K3, key_3=key * _tint(rng), everywhere_3=_tint(rng))


def _tint(rng: np.random.Generator) -> np.ndarray:
    tint_3: np.ndarray = np.exp(rng.uniform(-WARMTH, WARMTH)) ** np.array([1.0, 0.0, -1.0])
    return tint_3


def _lamp_at(points_N3: np.ndarray, normals_N3: np.ndarray, light: _Lit, *, wrap: float) -> np.ndarray:
    """Unoccluded light of the lamp at surfaces [N, 1], by distance and angle."""
    way_N3 = light.lamp_K3.mean(axis=0) - points_N3
    square_N = (way_N3**2).sum(axis=1)
    facing_N = ((way_N3 * normals_N3).sum(axis=1) / np.sqrt(square_N) + wrap) / (1 + wrap)
    return (3.2 * facing_N.clip(0) / (2.5 + square_N))[:, None]


def _albedo(drawn: Rendered) -> np.ndarray:
    """Linear colours [N, 3] of a render's pixels under the renderer's default light."""
    assert drawn.normals_HW3 is not None
    normals_N3, usual = drawn.normals_HW3[drawn.mask_HW], Light()
    way_3 = np.array(usual.direction) / np.linalg.norm(usual.direction)
    lamp_N1 = np.clip((normals_N3 @ way_3[:, None] + 0.25) / 1.25, 0, None)
    light_N3 = (0.75 - 0.25 * normals_N3[:, 1:2]) * np.array(usual.ambient) + lamp_N1 * np.array(usual.key)
    albedo_N3: np.ndarray = (drawn.color_HW3[drawn.mask_HW] / 255) ** GAMMA / light_N3
    return albedo_N3


def _blurred(picture: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(picture.astype(np.float32), (0, 0), sigma)


def _rounded(picture_HW3: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(picture_HW3), 0, 255).astype(np.uint8)
