import dataclasses

import numpy as np
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from raymaskdp.bodies import mesh as tools
from raymaskdp.bodies.mesh import Mesh


def _sphere(subdivisions=3):
    ball = trimesh.creation.icosphere(subdivisions=subdivisions)
    vertices = np.asarray(ball.vertices, dtype=np.float32)
    weights = np.zeros((len(vertices), 52), dtype=np.float32)
    weights[:, 0] = (1 + vertices[:, 0]) / 2
    weights[:, 1] = 1 - weights[:, 0]
    return Mesh(
        rest_V3=vertices,
        weights_VJ=weights,
        faces_F3=np.asarray(ball.faces, dtype=np.int64),
        pose_directions_VP3=np.zeros((len(vertices), 0, 3), dtype=np.float32),
    )


def _area(mesh):
    return trimesh.Trimesh(mesh.rest_V3, mesh.faces_F3, process=False).area


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda n: np.linalg.norm(n) > 0.1),
    st.floats(-0.8, 0.8),
)
def test_a_cut_is_where_trimesh_cuts(direction, height):
    ball = _sphere()
    normal = np.array(direction) / np.linalg.norm(direction)
    field = ball.rest_V3 @ normal - height
    part = tools.clip(ball, field)
    vertices, faces, _ = trimesh.intersections.slice_faces_plane(
        ball.rest_V3.astype(float), ball.faces_F3, normal, normal * height
    )
    reference = trimesh.Trimesh(vertices, faces, process=False)
    assert np.isclose(_area(part), reference.area, rtol=1e-4)
    assert (part.rest_V3 @ normal).min() > height - 1e-5
    other = tools.clip(ball, -field)
    assert np.isclose(_area(part) + _area(other), _area(ball), rtol=1e-4)


def test_a_cut_interpolates_what_vertices_carry_and_keeps_faces_outwards():
    part = tools.clip(_sphere(), _sphere().rest_V3[:, 1] - 0.1234)
    np.testing.assert_allclose(part.weights_VJ[:, 0], (1 + part.rest_V3[:, 0]) / 2, atol=1e-5)
    np.testing.assert_allclose(part.weights_VJ.sum(axis=1), 1, atol=1e-5)
    normals = tools.vertex_normals(
        part.rest_V3, tools.normal_operator(part.faces_F3, len(part)), part.faces_F3
    )
    assert (np.einsum("vc,vc->v", normals, part.rest_V3) > 0.9).all()


def test_normals_are_those_of_a_sphere():
    ball = _sphere(4)
    normals = tools.vertex_normals(
        ball.rest_V3, tools.normal_operator(ball.faces_F3, len(ball)), ball.faces_F3
    )
    np.testing.assert_allclose(normals, ball.rest_V3, atol=0.01)
    np.testing.assert_allclose(np.linalg.norm(tools.offset(ball, 0.5).rest_V3, axis=1), 1.5, atol=0.01)


def test_clusters_do_not_join_different_owners():
    ball = _sphere()
    both = tools.merge([ball, ball])
    owner = np.repeat([0, 1], len(ball))
    faces = tools.cluster(both.rest_V3, both.faces_F3, owner, 0.3)
    assert 0 < len(faces) < len(both.faces_F3) / 2
    assert (owner[faces] == owner[faces][:, :1]).all()


def test_refining_is_loops_subdivision():
    """trimesh subdivides positions in its own way; here weights and corrections come along."""
    ball = dataclasses.replace(_sphere(1), pose_directions_VP3=_sphere(1).rest_V3[:, None])
    fine = tools.refine(ball)
    points, faces = trimesh.remesh.subdivide_loop(ball.rest_V3.astype(float), ball.faces_F3, 1)
    assert len(fine.faces_F3) == len(faces) == 4 * len(ball.faces_F3)
    distance, _ = cKDTree(points).query(fine.rest_V3)
    assert distance.max() < 1e-6
    np.testing.assert_allclose(fine.weights_VJ.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(fine.pose_directions_VP3[:, 0], fine.rest_V3, atol=1e-6)


def test_an_open_border_stays_a_border():
    ball = _sphere(2)
    disc = tools.clip(ball, ball.rest_V3[:, 1])
    fine = tools.refine(disc)
    assert fine.rest_V3[:, 1].min() > -1e-6
    low = fine.rest_V3[fine.rest_V3[:, 1] < 1e-6]
    np.testing.assert_allclose(np.linalg.norm(low, axis=1), 1, atol=0.03)


def test_cloth_spans_hollows_and_stays_outside():
    ball = _sphere(4)
    dent = np.exp(-(((ball.rest_V3 - [0, 0, 1]) ** 2).sum(axis=1)) / 0.02)
    dented = dataclasses.replace(ball, rest_V3=ball.rest_V3 * (1 - 0.2 * dent[:, None]).astype(np.float32))
    spanned = tools.span(dented, 60)
    deep = dent > 0.9
    grown = np.linalg.norm(spanned.rest_V3, axis=1) - np.linalg.norm(dented.rest_V3, axis=1)
    assert grown[deep].min() > 0.02
    assert grown.min() > -1e-4
    assert np.abs(grown[dent < 1e-4]).max() < 1e-3
