"""Render avatars: dressed meshes in, colour, depth and mask out. pyrender over EGL."""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raymaskdp.bodies.egl import FAR, NEAR, GlContext, load_pyrender, start_context
from raymaskdp.bodies.figure import Figure
from raymaskdp.bodies.settings.render import Light, RenderConfig

# Shape suffixes: V vertices, H rows, W columns.


@dataclass(frozen=True, kw_only=True, eq=False)
class Rendered:
    """One drawn frame. A pixel belongs to an avatar or an object entirely (mask true), or to none (all zero).

    Attributes:
      color_HW3: uint8 RGB, 0 outside the mask.
      depth_HW: float32, distance along the camera's z axis in metres, 0 outside the mask.
      mask_HW: bool.
      normals_HW3: float32, the surface's unit normals in the camera frame, to about half a degree, 0 outside
        the mask; None unless requested.
    """

    color_HW3: np.ndarray
    depth_HW: np.ndarray
    mask_HW: np.ndarray
    normals_HW3: np.ndarray | None = None


def nothing_drawn(height: int, width: int) -> Rendered:
    """A frame without avatars."""
    return Rendered(
        color_HW3=np.zeros((height, width, 3), np.uint8),
        depth_HW=np.zeros((height, width), np.float32),
        mask_HW=np.zeros((height, width), bool),
    )


class Renderer:
    """Draws with OpenGL through EGL, on a GPU if there is one and on the CPU otherwise.

    The OpenGL context is created at the first call, in the calling thread, because a context belongs to one
    thread, and Ray constructs and calls actors in different ones. A later call from another thread is an
    error.
    """

    def __init__(self, config: RenderConfig) -> None:
        self._config = config
        self._gl: GlContext | None = None
        self._thread: int | None = None
        # Cached, because pyrender uploads an image once for each of these.
        self._materials: weakref.WeakKeyDictionary[Figure, Any] = weakref.WeakKeyDictionary()

    def render(
        self,
        people: Sequence[tuple[Figure, np.ndarray]],
        camera_33: np.ndarray,
        *,
        width: int,
        height: int,
        light: Light | None = None,
        normals: bool = False,
    ) -> Rendered:
        """Draw `people`, pairs of a figure and its posed vertices [V, 3] in the camera frame.

        Nearer people hide farther ones. Only the region that they cover is drawn, with the principal point
        moved accordingly, so the cost depends on their size and not on the frame's. `normals` need a second
        rendering and double the cost.

        Raises `UserError`, which names the missing packages, if OpenGL cannot be started.
        """
        color_HW3 = np.zeros((height, width, 3), dtype=np.uint8)
        depth_HW = np.zeros((height, width), dtype=np.float32)
        mask_HW = np.zeros((height, width), dtype=bool)
        normals_HW3 = np.zeros((height, width, 3), dtype=np.float32) if normals else None
        region = _region([vertices for _, vertices in people], camera_33, width, height)
        if region is not None:
            shading = functools.partial(_lit, light=light or self._config.light)
            rgba, depth = self._draw(people, camera_33, region, shading, painted=True)
            inside = rgba[..., 3] >= 128
            color_HW3[region] = _whole_pixels(rgba, inside)
            depth_HW[region] = _fill_depth(depth, inside)
            mask_HW[region] = inside
            if normals_HW3 is not None:
                coded, _ = self._draw(people, camera_33, region, _coded, painted=False)
                vectors = _whole_pixels(coded, inside) / np.float32(127.5) - 1
                length = np.maximum(np.linalg.norm(vectors, axis=2, keepdims=True), 1e-6)
                normals_HW3[region] = vectors / length * inside[..., None]
        return Rendered(color_HW3=color_HW3, depth_HW=depth_HW, mask_HW=mask_HW, normals_HW3=normals_HW3)

    def start(self) -> None:
        """Start OpenGL before the first call of `render`; raises `UserError` if that is impossible."""
        self._context(8, 8)

    def close(self) -> None:
        """Free the OpenGL context; the next call makes a new one."""
        if self._gl is not None:
            self._gl.delete()
            self._gl = None
            self._thread = None

    def _draw(
        self,
        people: Sequence[tuple[Figure, np.ndarray]],
        camera_33: np.ndarray,
        region: tuple[slice, slice],
        shading: Callable[[np.ndarray, np.ndarray], np.ndarray],
        *,
        painted: bool,
    ) -> tuple[np.ndarray, np.ndarray]:
        """RGBA and depth of the region; `shading` computes vertex colours from colours and normals."""
        pyrender = load_pyrender()
        rows, columns = region
        scene = pyrender.Scene(bg_color=np.zeros(4))
        for figure, vertices_V3 in people:
            material = self._material(pyrender, figure) if painted else None
            scene.add(_mesh(pyrender, figure, vertices_V3, camera_33, shading, material))
        camera = pyrender.IntrinsicsCamera(
            camera_33[0, 0],
            camera_33[1, 1],
            camera_33[0, 2] - columns.start,
            camera_33[1, 2] - rows.start,
            znear=NEAR,
            zfar=FAR,
        )
        scene.add(camera, pose=_OPENCV_TO_OPENGL)
        width, height = columns.stop - columns.start, rows.stop - rows.start
        # In steps, so that buffers are not reallocated for every frame of a moving person.
        wide, tall = (-(-size // _STEP) * _STEP for size in (width, height))
        gl = self._context(wide, tall)
        # Light is computed here, at the vertices: on a CPU that is five times faster than pyrender's shading
        # of every pixel, and at the size of the triangles it looks the same.
        flags = pyrender.RenderFlags.RGBA | pyrender.RenderFlags.FLAT
        color, depth = gl.render(scene, flags, width=wide, height=tall)
        return color[:height, :width], depth[:height, :width]

    def _material(self, pyrender: Any, figure: Figure) -> Any:
        if figure.paint is None:
            return None
        if figure not in self._materials:
            texture = pyrender.Texture(source=figure.paint.image, source_channels="RGB")
            self._materials[figure] = pyrender.MetallicRoughnessMaterial(baseColorTexture=texture)
        return self._materials[figure]

    def _context(self, width: int, height: int) -> GlContext:
        if self._gl is None:
            self._gl = start_context(width, height)
            self._thread = threading.get_ident()
        elif self._thread != threading.get_ident():
            raise RuntimeError(
                "a Renderer belongs to the thread that first called it; create one for each thread"
            )
        return self._gl


_STEP = 32

_OPENCV_TO_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
"""OpenGL's camera looks along -z with y up; ours along +z with y down."""

_GAMMA = 2.2


def _mesh(
    pyrender: Any,
    figure: Figure,
    vertices_V3: np.ndarray,
    camera_33: np.ndarray,
    shading: Callable[[np.ndarray, np.ndarray], np.ndarray],
    material: Any,
) -> Any:
    nearest = max(float(vertices_V3[:, 2].min()), NEAR)
    detail = figure.detail(nearest / float(camera_33[0, 0]))
    kept = vertices_V3[detail.used]
    colors = np.ones((len(kept), 4), dtype=np.float32)
    colors[:, :3] = shading(detail.colors_U3, detail.normals(kept))
    places = None  # upwards, in pyrender
    if material is not None and figure.paint is not None:
        places = figure.paint.uv_V2[detail.used] * np.array([1, -1], np.float32) + np.array(
            [0, 1], np.float32
        )
    primitive = pyrender.Primitive(
        positions=kept,
        color_0=colors,
        texcoord_0=places,
        indices=detail.faces_F3,
        material=material,
        mode=pyrender.GLTF.TRIANGLES,
    )
    return pyrender.Mesh([primitive])


def _lit(colors_V3: np.ndarray, normals_V3: np.ndarray, light: Light) -> np.ndarray:
    """Colours, sRGB, of a matt surface under the light, limited to the range from black to white."""
    direction = np.array(light.direction) / np.linalg.norm(light.direction)
    sky = 0.75 - 0.25 * normals_V3[:, 1:2]
    # Skin and cloth scatter some light past the edge of a shadow: half-wrapped Lambert.
    lamp = np.clip((normals_V3 @ direction[:, None] + 0.25) / 1.25, 0, None)
    arriving = sky * np.array(light.ambient) + lamp * np.array(light.key)
    return np.minimum(colors_V3 * arriving.astype(np.float32) ** np.float32(1 / _GAMMA), 1)


def _coded(colors_V3: np.ndarray, normals_V3: np.ndarray) -> np.ndarray:
    """Normals as colours."""
    return (normals_V3 + 1) / 2


def _region(
    people: Sequence[np.ndarray], camera_33: np.ndarray, width: int, height: int
) -> tuple[slice, slice] | None:
    """The rows and columns of the frame that the vertices cover; None where they cover none."""
    if not people:
        return None
    points = np.concatenate(people)
    if not np.isfinite(points).all():
        raise ValueError("the posed vertices are not finite")
    depths = points[:, 2]
    if (depths <= NEAR).all():
        return None
    if (depths <= NEAR).any():  # a vertex behind the camera: no bound is safe
        return slice(0, height), slice(0, width)
    pixels = points[:, :2] / depths[:, None] * camera_33[[0, 1], [0, 1]] + camera_33[:2, 2]
    left, top = np.floor(pixels.min(axis=0)).astype(int) - 1
    right, bottom = np.ceil(pixels.max(axis=0)).astype(int) + 1
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    if left >= right or top >= bottom:
        return None
    return slice(int(top), int(bottom)), slice(int(left), int(right))


def _whole_pixels(rgba: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Colours of the pixels `inside`, zero elsewhere.

    The four samples of a pixel were averaged with black where nothing was drawn. Division by the coverage
    removes the black, so an edge pixel has the avatar's own colour.
    """
    color = rgba[..., :3] * inside[..., None].view(np.uint8)
    rows, columns = np.nonzero(inside & (rgba[..., 3] < 255))
    edge = rgba[rows, columns].astype(np.float32)
    color[rows, columns] = np.clip(np.rint(edge[:, :3] * (255.0 / edge[:, 3:])), 0, 255)
    return color


def _fill_depth(depth: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Depth of the pixels inside: that of a neighbour if the sample that is read has none."""
    filled = np.where(inside, depth, 0).astype(np.float32)
    rows, columns = np.nonzero(inside & (depth == 0))
    while len(rows):
        padded = np.pad(filled, 1)
        around = [padded[rows + 1 + i, columns + 1 + j] for i, j in _AROUND]
        found = np.max(around, axis=0)
        if not found.any():  # pixels without a drawn neighbour
            found[:] = filled.max() or FAR
        filled[rows, columns] = found
        rows, columns = rows[found == 0], columns[found == 0]
    return filled


_AROUND = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]
