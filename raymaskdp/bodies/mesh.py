"""Meshes that move with the skeleton, and the operations from which clothes are made."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse

# Shape suffixes: V vertices, F faces, J = 52 joints, P = 459 pose directions, T frames, E edges.


@dataclass(frozen=True, kw_only=True, eq=False)
class Mesh:
    """A shaped mesh in the rest pose.

    Attributes:
      rest_V3: float32 [V, 3], metres, y up, facing +z.
      weights_VJ: float32 [V, 52], rows sum to 1.
      faces_F3: int64 [F, 3].
      pose_directions_VP3: float32 [V, P, 3], the body's pose corrections; P is 0 where it has none.
    """

    rest_V3: np.ndarray
    weights_VJ: np.ndarray
    faces_F3: np.ndarray
    pose_directions_VP3: np.ndarray

    def __len__(self) -> int:
        return len(self.rest_V3)


def clip(mesh: Mesh, keep_V: np.ndarray) -> Mesh:
    """The part of a mesh where the field `keep_V` [V] is positive, cut exactly where it is zero.

    Faces that the cut crosses are split, so the new edge is as straight as the field and independent of the
    triangles. All values of a vertex are interpolated.
    """
    inside_F3 = keep_V[mesh.faces_F3] > 0
    count_F = inside_F3.sum(axis=1)
    crossed = np.flatnonzero((count_F == 1) | (count_F == 2))
    # Rotate the vertices of every crossed face so that the one alone on its side comes first.
    lonely = inside_F3[crossed] == (count_F[crossed] == 1)[:, None]
    turn = (lonely.argmax(axis=1)[:, None] + np.arange(3)) % 3
    apex, right, left = np.take_along_axis(mesh.faces_F3[crossed], turn, axis=1).T
    edges_E2 = np.concatenate([np.stack([apex, right], axis=1), np.stack([apex, left], axis=1)])
    edges_E2, new = np.unique(np.sort(edges_E2, axis=1), axis=0, return_inverse=True)
    new = new.ravel() + len(mesh)
    new_right, new_left = new[: len(crossed)], new[len(crossed) :]
    one = count_F[crossed] == 1
    faces = np.concatenate(
        [
            mesh.faces_F3[count_F == 3],
            np.stack([apex, new_right, new_left], axis=1)[one],
            np.stack([new_right, right, left], axis=1)[~one],
            np.stack([new_right, left, new_left], axis=1)[~one],
        ]
    )
    start, end = keep_V[edges_E2].T
    share_E = (start / np.where(start == end, 1, start - end)).astype(np.float32)

    def extended(values: np.ndarray) -> np.ndarray:
        share = share_E.reshape(-1, *[1] * (values.ndim - 1))
        cut = values[edges_E2[:, 0]] * (1 - share) + values[edges_E2[:, 1]] * share
        return np.concatenate([values, cut])

    return compact(
        Mesh(
            rest_V3=extended(mesh.rest_V3),
            weights_VJ=extended(mesh.weights_VJ),
            faces_F3=faces,
            pose_directions_VP3=extended(mesh.pose_directions_VP3),
        )
    )


def compact(mesh: Mesh) -> Mesh:
    """The same mesh without vertices that no face uses."""
    used, faces = np.unique(mesh.faces_F3, return_inverse=True)
    return Mesh(
        rest_V3=mesh.rest_V3[used],
        weights_VJ=mesh.weights_VJ[used],
        faces_F3=faces.reshape(-1, 3),
        pose_directions_VP3=mesh.pose_directions_VP3[used],
    )


def select(mesh: Mesh, faces: np.ndarray) -> Mesh:
    """The chosen faces (indices or mask over F) of a mesh."""
    return compact(dataclasses.replace(mesh, faces_F3=mesh.faces_F3[faces]))


def offset(mesh: Mesh, metres: float | np.ndarray) -> Mesh:
    """The mesh moved outwards along its normals, by one distance or one for each vertex."""
    normals_V3 = vertex_normals(mesh.rest_V3, normal_operator(mesh.faces_F3, len(mesh)), mesh.faces_F3)
    distance = np.broadcast_to(np.asarray(metres, dtype=np.float32), len(mesh))[:, None]
    return dataclasses.replace(mesh, rest_V3=mesh.rest_V3 + normals_V3 * distance)


def refine(mesh: Mesh) -> Mesh:
    """Each face subdivided into four (Loop 1987); borders stay borders."""
    corners = mesh.faces_F3
    sides = np.sort(np.stack([corners, np.roll(corners, -1, axis=1)], axis=-1), axis=-1).reshape(-1, 2)
    edges_E2, side_to_edge, count_E = np.unique(sides, axis=0, return_inverse=True, return_counts=True)
    side_to_edge = side_to_edge.ravel()
    num_vertices, num_edges = len(mesh), len(edges_E2)
    inner_E = count_E == 2
    ends_EV = _incidence(edges_E2, num_vertices)
    opposite_EV = scipy.sparse.csr_array(
        (np.ones(len(sides), np.float32), (side_to_edge, np.roll(corners, -2, axis=1).ravel())),
        shape=(num_edges, num_vertices),
    )
    middle_EV = _scaled(np.where(inner_E, 3 / 8, 1 / 2), ends_EV) + _scaled(inner_E / 8, opposite_EV)

    around_VV = _neighbours(edges_E2, num_vertices)
    border_VV = _neighbours(edges_E2[~inner_E], num_vertices)
    on_border_V = border_VV.sum(axis=1) > 0
    degree_V = np.maximum(around_VV.sum(axis=1), 1)
    share_V = (40 - (3 + 2 * np.cos(2 * np.pi / degree_V)) ** 2) / (64 * degree_V)
    stay_V = np.where(on_border_V, 1 - border_VV.sum(axis=1) / 8, 1 - degree_V * share_V)
    corner_VV = (
        scipy.sparse.diags_array(stay_V)
        + _scaled(np.where(on_border_V, 0, share_V), around_VV)
        + _scaled(on_border_V / 8, border_VV)
    )
    operator = scipy.sparse.csr_array(scipy.sparse.vstack([corner_VV, middle_EV]), dtype=np.float32)

    first, second, third = (num_vertices + side_to_edge.reshape(-1, 3)).T
    a, b, c = corners.T
    faces = np.concatenate(
        [np.stack(face, axis=1) for face in ((a, first, third), (first, b, second), (third, second, c))]
        + [np.stack([first, second, third], axis=1)]
    )
    num_corrections = mesh.pose_directions_VP3.shape[1]
    flat = mesh.pose_directions_VP3.reshape(num_vertices, 3 * num_corrections)
    return Mesh(
        rest_V3=operator @ mesh.rest_V3,
        weights_VJ=operator @ mesh.weights_VJ,
        faces_F3=faces,
        pose_directions_VP3=(operator @ flat).reshape(num_vertices + num_edges, num_corrections, 3),
    )


def span(mesh: Mesh, rounds: int) -> Mesh:
    """The mesh with its concave parts filled, as cloth spans them; convex parts stay unchanged."""
    corners = mesh.faces_F3
    edges_E2 = np.unique(np.stack([corners, np.roll(corners, -1, axis=1)], axis=-1).reshape(-1, 2), axis=0)
    around_VV = _neighbours(edges_E2, len(mesh))
    around_VV = _scaled(1 / np.maximum(around_VV.sum(axis=1), 1), around_VV)
    smooth_V3 = mesh.rest_V3
    for _ in range(rounds):
        smooth_V3 = around_VV @ smooth_V3
    normals_V3 = vertex_normals(mesh.rest_V3, normal_operator(corners, len(mesh)), corners)
    outward_V = np.einsum("vc,vc->v", smooth_V3 - mesh.rest_V3, normals_V3).clip(0)
    return dataclasses.replace(mesh, rest_V3=mesh.rest_V3 + outward_V[:, None] * normals_V3)


def _incidence(edges_E2: np.ndarray, num_vertices: int) -> scipy.sparse.csr_array:
    rows = np.repeat(np.arange(len(edges_E2)), 2)
    ones = np.ones(edges_E2.size, np.float32)
    return scipy.sparse.csr_array((ones, (rows, edges_E2.ravel())), shape=(len(edges_E2), num_vertices))


def _neighbours(edges_E2: np.ndarray, num_vertices: int) -> scipy.sparse.csr_array:
    rows, columns = np.concatenate([edges_E2, edges_E2[:, ::-1]]).T
    joined = scipy.sparse.csr_array(
        (np.ones(len(rows), np.float32), (rows, columns)), shape=(num_vertices, num_vertices)
    )
    joined.data[:] = 1  # duplicate edges count once
    return joined


def _scaled(scale: np.ndarray, matrix: scipy.sparse.csr_array) -> scipy.sparse.csr_array:
    return scipy.sparse.csr_array(scipy.sparse.diags_array(scale.astype(np.float32)) @ matrix)


def merge(meshes: Sequence[Mesh]) -> Mesh:
    """Several meshes as one."""
    starts = np.cumsum([0, *(len(mesh) for mesh in meshes[:-1])])
    return Mesh(
        rest_V3=np.concatenate([mesh.rest_V3 for mesh in meshes]),
        weights_VJ=np.concatenate([mesh.weights_VJ for mesh in meshes]),
        faces_F3=np.concatenate([mesh.faces_F3 + start for mesh, start in zip(meshes, starts, strict=True)]),
        pose_directions_VP3=np.concatenate([mesh.pose_directions_VP3 for mesh in meshes]),
    )


def normal_operator(faces_F3: np.ndarray, num_vertices: int) -> scipy.sparse.csr_array:
    """The sparse matrix [V, F] that sums the faces around every vertex."""
    rows, columns = faces_F3.ravel(), np.repeat(np.arange(len(faces_F3)), 3)
    ones = np.ones(len(rows), dtype=np.float32)
    return scipy.sparse.csr_array((ones, (rows, columns)), shape=(num_vertices, len(faces_F3)))


def vertex_normals(
    vertices_V3: np.ndarray, operator: scipy.sparse.csr_array, faces_F3: np.ndarray
) -> np.ndarray:
    """Unit normals, float32 [V, 3]: faces weighted by area."""
    corner = vertices_V3[faces_F3[:, 0]]
    first, second = vertices_V3[faces_F3[:, 1]] - corner, vertices_V3[faces_F3[:, 2]] - corner
    summed = operator @ (
        first[:, [1, 2, 0]] * second[:, [2, 0, 1]] - first[:, [2, 0, 1]] * second[:, [1, 2, 0]]
    )
    length = np.sqrt(np.einsum("vc,vc->v", summed, summed))
    return summed / np.maximum(length, 1e-12)[:, None]


def lining(mesh: Mesh) -> Mesh:
    """The inner side of a mesh: its faces reversed. Only the front of a face is drawn."""
    return dataclasses.replace(mesh, faces_F3=mesh.faces_F3[:, ::-1])


def cluster(vertices_V3: np.ndarray, faces_F3: np.ndarray, owner_V: np.ndarray, cell: float) -> np.ndarray:
    """Faces [F, 3] of a coarser mesh on the same vertices: one vertex is kept in every cell of a grid.

    Vertices of different owners are never merged. Faces that collapse are removed. (Rossignac and Borrel
    1993.) A cell of 0 keeps every face.
    """
    if cell == 0:
        return faces_F3
    place = np.floor(vertices_V3 / cell).astype(np.int64)
    place -= place.min(axis=0)
    spans = place.max(axis=0) + 1
    keys = ((owner_V * spans[0] + place[:, 0]) * spans[1] + place[:, 1]) * spans[2] + place[:, 2]
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    moved = first[group][faces_F3]
    whole = (moved[:, 0] != moved[:, 1]) & (moved[:, 1] != moved[:, 2]) & (moved[:, 2] != moved[:, 0])
    return moved[whole]
