"""Rooms of the sample data: textured boxes, rendered by ray casting.

A room consists of axis-parallel boxes and a lamp. Nothing is loaded from files: textures are functions of the
position on a surface, so every room is different and rich in detail.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from raymaskdp.synthetic.textures import (
    Texture,
    floored,
    from_hsv,
    outdoors,
    painted,
    plain,
    shelved,
    speckled,
    walled,
    wooden,
    woven,
)

# Shape suffixes: N rays or points, H rows, W columns.
# The world is y up, metres, the floor at y = 0, the person near the origin.


@dataclass(frozen=True, kw_only=True, eq=False)
class Cuboid:
    """An axis-parallel box between two corners, one texture for all its sides."""

    low: np.ndarray
    high: np.ndarray
    texture: Texture
    glow: float = 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Room:
    """Walls, floor and furniture.

    Attributes:
      low, high: corners of the room, metres; `low[1]` is 0.
      surfaces: textures of the floor, the ceiling and the walls.
      boxes: furniture, pictures, windows.
      lamp: position of the lamp.
      color: of the light, linear RGB.
    """

    low: np.ndarray
    high: np.ndarray
    floor: Texture
    ceiling: Texture
    wall: Texture
    boxes: tuple[Cuboid, ...]
    lamp: np.ndarray
    color: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class RoomView:
    """An image of an empty room.

    Attributes:
      color_HW3: float32 RGB in [0, 255], not rounded, so that noise can be added.
      floor_HW: whether a pixel shows the floor.
    """

    color_HW3: np.ndarray
    floor_HW: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Traced:
    """Intersections of rays with a room.

    Attributes:
      points_N3, normals_N3: of the surfaces, world.
      albedo_N3: their colour, linear RGB.
      glow_N: emitted light.
      floor_N: whether the surface is the floor.
    """

    points_N3: np.ndarray
    normals_N3: np.ndarray
    albedo_N3: np.ndarray
    glow_N: np.ndarray
    floor_N: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class RoomCamera:
    """A static camera. A world point p is at `rotation_33 @ p + translation_3` in its frame (OpenCV's).

    Attributes:
      intrinsics_33: in pixels, pixel centres at +0.5.
    """

    rotation_33: np.ndarray
    translation_3: np.ndarray
    intrinsics_33: np.ndarray

    def project(self, points_N3: np.ndarray) -> np.ndarray:
        """Pixels [N, 2] of world points in front of the camera."""
        seen = points_N3 @ self.rotation_33.T + self.translation_3
        return seen[:, :2] / seen[:, 2:] * np.diag(self.intrinsics_33)[:2] + self.intrinsics_33[:2, 2]


def look_at(position: np.ndarray, target: np.ndarray, *, focal: float, width: int, height: int) -> RoomCamera:
    """A level camera at `position` with `target` in the middle of its image."""
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.cross(forward, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
    return RoomCamera(rotation_33=rotation, translation_3=-rotation @ position, intrinsics_33=intrinsics)


def draw_room(rng: np.random.Generator) -> Room:
    """A furnished room, deterministic in `rng`; the middle of the floor is free."""
    width, depth, tall = rng.uniform(5.0, 7.5), rng.uniform(6.5, 8.0), rng.uniform(2.5, 3.0)
    back = -rng.uniform(1.6, 2.6)
    low, high = np.array([-width / 2, 0.0, back]), np.array([width / 2, tall, back + depth])
    # No reddish walls, because networks for people mistake them for skin.
    hue = rng.uniform(0.12, 0.72)
    walls = from_hsv(hue, rng.uniform(0.05, 0.35), rng.uniform(0.55, 0.85))
    trim = from_hsv(hue + rng.uniform(-0.1, 0.1), 0.3, rng.uniform(0.25, 0.5))
    boxes = [_skirting(low, high, side, trim) for side in ("back", "left", "right")]
    boxes += _furniture(rng, low, high)
    return Room(
        low=low,
        high=high,
        floor=floored(rng),
        ceiling=plain(np.array([0.75, 0.74, 0.72])),
        wall=walled(rng, walls, trim),
        boxes=tuple(boxes),
        lamp=np.array([rng.uniform(-1.8, 1.8), tall - 0.2, rng.uniform(0.8, 2.4)]),
        color=np.array(colorsys.hsv_to_rgb(rng.choice([0.09, 0.12, 0.58]), rng.uniform(0, 0.16), 1.0)),
    )


def view(room: Room, camera: RoomCamera, *, width: int, height: int, samples: int = 2) -> RoomView:
    """The empty room as a camera sees it, with `samples`² rays a pixel."""
    traced = trace(room, camera, width=width, height=height, samples=samples)
    light_N3 = _light(room, traced.points_N3, traced.normals_N3)
    color_N3 = traced.albedo_N3 * np.maximum(light_N3, traced.glow_N[:, None])
    fine = color_N3.reshape(height, samples, width, samples, 3).mean(axis=(1, 3))
    floor_HW = traced.floor_N.reshape(height, samples, width, samples).mean(axis=(1, 3)) > 0.5
    return RoomView(color_HW3=(255 * np.clip(fine, 0, 1) ** (1 / 2.2)).astype(np.float32), floor_HW=floor_HW)


def trace(room: Room, camera: RoomCamera, *, width: int, height: int, samples: int = 1) -> Traced:
    """Intersections of a camera's rays, row by row, `samples`² of them a pixel."""
    columns = (np.arange(width * samples) + 0.5) / samples
    rows = (np.arange(height * samples) + 0.5) / samples
    grid = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
    focal, centre = camera.intrinsics_33[0, 0], camera.intrinsics_33[:2, 2]
    rays_N3 = np.concatenate([(grid - centre) / focal, np.ones((len(grid), 1))], axis=1) @ camera.rotation_33
    return _trace(room, -camera.rotation_33.T @ camera.translation_3, rays_N3)


def _trace(room: Room, origin: np.ndarray, rays_N3: np.ndarray) -> Traced:
    with np.errstate(divide="ignore"):
        inverse_N3 = 1.0 / rays_N3
    # From inside, a ray leaves the room through the nearest of the far planes.
    far_N3 = np.where(rays_N3 > 0, room.high - origin, room.low - origin) * inverse_N3
    axis_N = far_N3.argmin(axis=1)
    distance_N = far_N3.min(axis=1)
    hit_N = np.full(len(rays_N3), -1)
    for index, box in enumerate(room.boxes):
        first, second = (box.low - origin) * inverse_N3, (box.high - origin) * inverse_N3
        enter_N3 = np.minimum(first, second)
        enter_N = enter_N3.max(axis=1)
        nearer = (enter_N < np.maximum(first, second).min(axis=1)) & (enter_N > 0) & (enter_N < distance_N)
        distance_N = np.where(nearer, enter_N, distance_N)
        axis_N = np.where(nearer, enter_N3.argmax(axis=1), axis_N)
        hit_N = np.where(nearer, index, hit_N)
    points_N3 = origin + rays_N3 * distance_N[:, None]
    normals_N3 = np.zeros_like(points_N3)
    rows = np.arange(len(points_N3))
    normals_N3[rows, axis_N] = -np.sign(rays_N3[rows, axis_N])
    # Texture coordinates: the two axes of the surface, the vertical one second.
    flat_N2 = np.stack(
        [
            np.where(axis_N == 0, points_N3[:, 2], points_N3[:, 0]),
            np.where(axis_N == 1, points_N3[:, 2], points_N3[:, 1]),
        ],
        axis=1,
    )
    color_N3 = np.zeros_like(points_N3)
    floor_N = (hit_N < 0) & (axis_N == 1) & (normals_N3[:, 1] > 0)
    ceiling_N = (hit_N < 0) & (axis_N == 1) & (normals_N3[:, 1] < 0)
    for chosen, texture in (
        (floor_N, room.floor),
        (ceiling_N, room.ceiling),
        ((hit_N < 0) & (axis_N != 1), room.wall),
        *((hit_N == index, box.texture) for index, box in enumerate(room.boxes)),
    ):
        if chosen.any():
            color_N3[chosen] = texture(flat_N2[chosen])
    glow_N = np.array([*(box.glow for box in room.boxes), 0.0])[hit_N]
    return Traced(
        points_N3=points_N3, normals_N3=normals_N3, albedo_N3=color_N3, glow_N=glow_N, floor_N=floor_N
    )


def _light(room: Room, points_N3: np.ndarray, normals_N3: np.ndarray) -> np.ndarray:
    """Light at points [N, 3]: the lamp by distance and angle, and ambient light, reduced in corners."""
    way = room.lamp - points_N3
    square = (way**2).sum(axis=1)
    facing = np.clip((way * normals_N3).sum(axis=1) / np.sqrt(square), 0, 1)
    open_N = open_share(room, points_N3, normals_N3)
    return ((0.42 * open_N + 3.2 * facing / (2.5 + square) * open_N)[:, None]) * room.color


def open_share(room: Room, points_N3: np.ndarray, normals_N3: np.ndarray) -> np.ndarray:
    """Share [N] of the ambient light at points: less in corners and beside furniture."""
    gap = np.minimum(points_N3 - room.low, room.high - points_N3)
    # A surface has distance zero from itself, so its own axis is ignored.
    open_N = np.prod(1 - 0.35 * np.exp(-np.where(normals_N3 != 0, np.inf, gap) / 0.35), axis=1)
    for box in room.boxes:
        if float(np.min(box.high - box.low)) > 0.1:  # flat objects block no light
            outside = np.maximum(np.maximum(box.low - points_N3, points_N3 - box.high), 0)
            beside = np.sqrt((outside**2).sum(axis=1))
            open_N *= np.where(beside > 1e-6, 1 - 0.45 * np.exp(-beside / 0.12), 1)
    return open_N


def _furniture(rng: np.random.Generator, low: np.ndarray, high: np.ndarray) -> list[Cuboid]:
    back, left, right = low[2], low[0], high[0]
    boxes = _on_the_back_wall(rng, back, _spread(rng, left + 0.6, right - 0.6, 3))
    return [*boxes, *_at_a_side_wall(rng, back, left, -1), *_at_a_side_wall(rng, back, right, 1)]


def _on_the_back_wall(rng: np.random.Generator, back: float, places: np.ndarray) -> list[Cuboid]:
    """A picture, window, shelf or cupboard at each place, metres along the wall."""
    boxes: list[Cuboid] = []
    for x in places:
        kind = rng.choice(["picture", "window", "shelf", "cupboard", "poster"])
        if kind in ("picture", "poster"):
            size = rng.uniform(0.25, 0.55, 2)
            y = rng.uniform(1.3, 1.9)
            art = painted(rng, y - size[1], y + size[1])
            boxes.append(
                _slab(
                    [x - size[0], y - size[1], back],
                    [x + size[0], y + size[1], back + 0.02],
                    plain(from_hsv(rng.random(), 0.3, 0.2)),
                )
            )
            boxes.append(
                _slab(
                    [x - size[0] + 0.04, y - size[1] + 0.04, back],
                    [x + size[0] - 0.04, y + size[1] - 0.04, back + 0.025],
                    art,
                )
            )
        elif kind == "window":
            boxes.append(
                _slab([x - 0.65, 0.85, back], [x + 0.65, 2.2, back + 0.03], plain(np.array([0.8, 0.8, 0.78])))
            )
            boxes.append(
                _slab([x - 0.58, 0.92, back], [x + 0.58, 2.13, back + 0.035], outdoors(rng, x), glow=0.95)
            )
        elif kind == "shelf":
            for y in np.arange(0.35, rng.uniform(1.2, 2.2), 0.4):
                boxes.append(_slab([x - 0.5, y, back], [x + 0.5, y + 0.03, back + 0.28], wooden(rng)))
                boxes.append(
                    _slab(
                        [x - 0.46, y + 0.03, back],
                        [x + rng.uniform(0.1, 0.46), y + rng.uniform(0.2, 0.3), back + 0.2],
                        shelved(rng),
                    )
                )
        else:
            boxes.append(
                _slab([x - 0.45, 0, back], [x + 0.45, rng.uniform(0.7, 1.9), back + 0.45], wooden(rng))
            )
    return boxes


def _at_a_side_wall(rng: np.random.Generator, back: float, wall: float, side: int) -> list[Cuboid]:
    """A sofa, table, lamp, boxes or nothing at a wall; `side` is -1 for the left one, 1 for the right one."""
    boxes: list[Cuboid] = []
    z = rng.uniform(back + 0.9, back + 2.2)
    kind = rng.choice(["sofa", "table", "lamp", "boxes", "nothing"])
    cloth = woven(rng)
    inner = wall - side * rng.uniform(0.7, 0.9)
    near, far = sorted((wall, inner))
    if kind == "sofa":
        boxes.append(_slab([near, 0.08, z - 0.8], [far, 0.45, z + 0.8], cloth))
        spine = sorted((wall, wall - side * 0.25))
        boxes.append(_slab([spine[0], 0.45, z - 0.8], [spine[1], 0.85, z + 0.8], cloth))
    elif kind == "table":
        wood = wooden(rng)
        boxes.append(_slab([near, 0.70, z - 0.6], [far, 0.75, z + 0.6], wood))
        leg = sorted((inner, inner + side * 0.05))
        boxes += [_slab([leg[0], 0, end], [leg[1], 0.7, end + 0.05], wood) for end in (z - 0.55, z + 0.5)]
        boxes.append(
            _slab(
                [near + 0.2, 0.75, z - 0.2],
                [near + 0.5, 1.0, z + 0.1],
                plain(from_hsv(rng.random(), 0.6, 0.5)),
            )
        )
    elif kind == "lamp":
        middle = wall - side * 0.35
        pole = plain(from_hsv(0.1, 0.2, 0.3))
        boxes.append(_slab([middle - 0.15, 0, z - 0.15], [middle + 0.15, 0.03, z + 0.15], pole))
        boxes.append(_slab([middle - 0.015, 0, z - 0.015], [middle + 0.015, 1.4, z + 0.015], pole))
        shade = plain(from_hsv(rng.uniform(0.1, 0.15), 0.25, 0.95))
        boxes.append(_slab([middle - 0.17, 1.35, z - 0.17], [middle + 0.17, 1.65, z + 0.17], shade, 0.8))
    elif kind == "boxes":
        top = 0.0
        for _ in range(rng.integers(1, 4)):
            edge = rng.uniform(0.3, 0.6)
            boxes.append(
                _slab(
                    [wall - side * edge if side > 0 else wall, top, z - edge / 2],
                    [wall if side > 0 else wall + edge, top + 0.7 * edge, z + edge / 2],
                    speckled(rng, from_hsv(rng.random(), 0.35, 0.45)),
                )
            )
            top += 0.7 * edge
    return boxes


def _spread(rng: np.random.Generator, low: float, high: float, count: int) -> np.ndarray:
    """`count` random numbers between low and high, one in each equal part."""
    edges = np.linspace(low, high, count + 1)
    return edges[:-1] + rng.uniform(0.3, 0.7, count) * (high - low) / count


def _slab(
    low: list[float] | np.ndarray, high: list[float] | np.ndarray, texture: Texture, glow: float = 0.0
) -> Cuboid:
    return Cuboid(
        low=np.asarray(low, dtype=float), high=np.asarray(high, dtype=float), texture=texture, glow=glow
    )


def _skirting(low: np.ndarray, high: np.ndarray, side: str, color: np.ndarray) -> Cuboid:
    start, end = low.copy(), high.copy()
    end[1] = 0.1
    if side == "back":
        end[2] = low[2] + 0.02
    elif side == "left":
        end[0] = low[0] + 0.02
    else:
        start[0] = high[0] - 0.02
    return _slab(start, end, plain(color))
