"""Body textures: images in a body's UV layout, from a folder, in place of clothes and hair.

A folder has images (`.png`, `.jpg`) and one `.obj` with the layout, such as the `smpl_uv.obj` in SMPL's own
download. The images show skin and clothes together.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from raymaskdp.errors import UserError

# Shape suffixes: V vertices, F faces, C corners (a vertex once for each of its places in the layout).


@dataclass(frozen=True, kw_only=True, eq=False)
class TextureLayout:
    """Positions of the vertices of a body in its images.

    Attributes:
      vertex_C: int64, the body's vertex at each corner.
      uv_C2: float32 [C, 2], columns and rows from the upper left, in [0, 1].
      faces_F3: int64 [F, 3] into the corners.
    """

    vertex_C: np.ndarray
    uv_C2: np.ndarray
    faces_F3: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Textures:
    """A folder of images.

    Attributes:
      layout: shared by all of them.
      images: paths, sorted by name.
    """

    layout: TextureLayout
    images: tuple[Path, ...]

    def pick(self, share: float) -> np.ndarray:
        """One image, uint8 RGB [rows, columns, 3], for a `share` in [0, 1). `UserError` if unreadable."""
        path = self.images[int(share * len(self.images))]
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None:
            raise UserError(f"The texture {path} cannot be read as an image; see render.textures.")
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


@functools.lru_cache(maxsize=4)
def load_textures(folder: Path, num_vertices: int) -> Textures:
    """The images and the layout in `folder`, for a body of `num_vertices`; `UserError` if they do not fit."""
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    images = tuple(path for path in files if path.suffix.lower() in (".png", ".jpg", ".jpeg"))
    layouts = [path for path in files if path.suffix.lower() == ".obj"]
    if not images or len(layouts) != 1:
        raise UserError(
            f"render.textures: {folder} must hold images (.png, .jpg) and one .obj with their UV layout; it "
            f"holds {len(images)} and {len(layouts)}."
        )
    layout, vertices = _read_layout(layouts[0])
    if vertices != num_vertices:
        raise UserError(
            f"render.textures: {layouts[0]} is for a body of {vertices} vertices, and the body has "
            f"{num_vertices}; give the SMPL-H file that the textures were made for (body)."
        )
    return Textures(layout=layout, images=images)


def _read_layout(path: Path) -> tuple[TextureLayout, int]:
    """The layout in a Wavefront file, and its number of vertices."""
    vertices, places, corners = 0, [], []
    try:
        for line in path.read_text(encoding="ascii").splitlines():
            kind, *values = line.split() or [""]
            if kind == "v":
                vertices += 1
            elif kind == "vt":
                places.append((float(values[0]), 1 - float(values[1])))  # Wavefront's v points up
            elif kind == "f":
                pairs = [[int(number) - 1 for number in value.split("/")[:2]] for value in values]
                corners += [[pairs[0], pairs[k], pairs[k + 1]] for k in range(1, len(pairs) - 1)]
        corners_F32 = np.array(corners, dtype=np.int64).reshape(-1, 3, 2)
        pairs_C2, index = np.unique(corners_F32.reshape(-1, 2), axis=0, return_inverse=True)
        if not len(pairs_C2) or pairs_C2.min() < 0 or pairs_C2[:, 0].max() >= vertices:
            raise ValueError("faces refer to vertices that do not exist")
        layout = TextureLayout(
            vertex_C=pairs_C2[:, 0],
            uv_C2=np.array(places, dtype=np.float32)[pairs_C2[:, 1]],
            faces_F3=index.reshape(-1, 3),
        )
    except (ValueError, IndexError) as error:
        raise UserError(
            f"render.textures: {path} is not a Wavefront file with a UV layout ({error})."
        ) from error
    return layout, vertices
