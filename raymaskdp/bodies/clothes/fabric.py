"""Make surfaces look like cloth, skin and hair: folds, and variations of a colour. All in the rest pose."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from raymaskdp.bodies import mesh as tools
from raymaskdp.bodies.mesh import Mesh

# Shape suffixes: V vertices, N emitters, K waves.

_WAVES = 7


def ripples(points_V3: np.ndarray, along_V3: np.ndarray, *, length: float, seed: int) -> np.ndarray:
    """Irregular waves over space, float [V], of standard deviation about 1.

    Args:
      points_V3: positions, in metres.
      along_V3: unit directions across the crests.
      length: metres from crest to crest.
    """
    rng = np.random.default_rng(seed)
    total_V = np.zeros(len(points_V3))
    forward_V = np.einsum("vc,vc->v", points_V3, along_V3)
    for _ in range(_WAVES):
        # Crests are oblique and curved, because straight and parallel ones look like a washboard.
        slant_3 = rng.normal(0, 0.45, 3)
        turn = 2 * np.pi / (length * rng.uniform(0.75, 1.5))
        bend_V = np.sin(points_V3 @ rng.normal(0, 9, 3) + rng.uniform(0, 6.3))
        total_V += np.sin(turn * (forward_V + points_V3 @ slant_3) + 1.6 * bend_V + rng.uniform(0, 6.3))
    return total_V / np.sqrt(_WAVES / 2)


def variation(mesh: Mesh, *, strands: bool) -> np.ndarray:
    """Factors [V] about 1 that vary a colour slightly; more for strands of hair."""
    x, y, z = mesh.rest_V3.T
    if strands:
        around = np.arctan2(x, z)
        waves = np.sin(31 * around + 3 * np.sin(60 * y)) + np.sin(53 * around + 2 * np.sin(43 * y + 1))
        return 1 + 0.13 * waves
    across_V3 = np.broadcast_to([0.0, 1.0, 0.0], mesh.rest_V3.shape)
    return 1 + 0.025 * ripples(mesh.rest_V3, across_V3, length=0.11, seed=5)


def openness(mesh: Mesh, reach: float = 0.14, emitters: int = 900) -> np.ndarray:
    """Share of the ambient light that reaches each vertex, [V] from 0 to 1.

    Discs around some of the vertices shade the others (Bunnell 2005). The occlusion between thighs or arms
    that the rest pose adds is small, because they are spread there.
    """
    normals_V3 = tools.vertex_normals(
        mesh.rest_V3, tools.normal_operator(mesh.faces_F3, len(mesh)), mesh.faces_F3
    )
    corners = mesh.rest_V3[mesh.faces_F3]
    double_F3 = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area_F = np.linalg.norm(double_F3, axis=1) / 2
    # Discs of equal size; their centres are drawn by area, with a fixed seed.
    ends = np.cumsum(area_F)
    chosen = np.searchsorted(ends, (np.arange(emitters) + 0.5) / emitters * ends[-1])
    centre_N3 = corners[chosen].mean(axis=1)
    facing_N3 = double_F3[chosen] / np.maximum(2 * area_F[chosen], 1e-12)[:, None]
    size = ends[-1] / emitters
    pairs = cKDTree(mesh.rest_V3).sparse_distance_matrix(cKDTree(centre_N3), reach, output_type="ndarray")
    here, there, distance = pairs["i"], pairs["j"], np.maximum(pairs["v"], 1e-3)
    toward = (centre_N3[there] - mesh.rest_V3[here]) / distance[:, None]
    above = np.einsum("pc,pc->p", toward, normals_V3[here]).clip(0)
    # Discs that face the vertex, and (as cloth is thin) those that face away from it.
    turned = np.abs(np.einsum("pc,pc->p", toward, facing_N3[there]))
    fading = 1 - (distance / reach) ** 2
    shade = fading * above * turned * size / (np.pi * distance**2 + size)
    return np.exp(-np.bincount(here, shade, minlength=len(mesh)) * 1.6)
