"""Legs that are not drawn end in a point, and nothing else of the body moves."""

import numpy as np
import pytest

from raymaskdp.bodies.avatar import draw_avatar
from raymaskdp.bodies.body import load_body
from raymaskdp.bodies.figure import Figure, dress
from raymaskdp.bodies.skeleton import NUM_JOINTS
from raymaskdp.bodies.without_legs import Unseen


@pytest.fixture(scope="module", params=range(3))
def figure(request: pytest.FixtureRequest) -> Figure:
    return dress(load_body(), draw_avatar(b"secret", f"person {request.param}"))


def poses() -> tuple[np.ndarray, np.ndarray]:
    rotations = np.random.default_rng(0).normal(0, 0.3, (4, NUM_JOINTS, 3)).astype(np.float32)
    rotations[0] = 0
    return rotations, np.zeros((4, 3), np.float32)


@pytest.mark.parametrize(("unseen", "first"), [(Unseen.SHINS, "knee"), (Unseen.LEGS, "hip")])
def test_undrawn_parts_are_at_their_joint_in_every_pose(figure: Figure, unseen: Unseen, first: str) -> None:
    whole, cut = figure.pose(*poses()), figure.pose(*poses(), unseen)
    moved_V = (np.abs(whole - cut).max((0, 2)) > 1e-6) & (figure.dyes_V != "hair")
    assert 0.02 < moved_V.mean() < 0.9
    # In the rest pose a body ends at 28 % of its height without shins, and at half without legs.
    lowest, height = whole[0, :, 1].min(), np.ptp(whole[0, :, 1])
    assert cut[0, :, 1].min() > lowest + {"knee": 0.16, "hip": 0.38}[first] * height
    # Collapsed vertices of one side are one point, in every pose.
    for frame in cut:
        assert len(np.unique(frame[moved_V].round(4), axis=0)) <= 2 + 0.02 * moved_V.sum()


def test_the_upper_body_stays_as_it_is(figure: Figure) -> None:
    whole = figure.pose(*poses())
    upper_V = whole[0, :, 1] > np.quantile(whole[0, :, 1], 0.6)
    for unseen in Unseen:
        np.testing.assert_array_equal(figure.pose(*poses(), unseen)[:, upper_V], whole[:, upper_V])
    np.testing.assert_array_equal(figure.pose(*poses(), Unseen.NOTHING), whole)
