"""Relaxed hands bend toward the palm, and are mirror images of each other."""

import numpy as np

from raymaskdp.bodies.body import Body
from raymaskdp.bodies.hands import relaxed_hands
from raymaskdp.bodies.skeleton import FINGERS, JOINT


def test_fingers_bend_down_when_palms_face_the_floor(body: Body) -> None:
    shape, still = np.zeros(10, np.float32), np.zeros((1, 3), np.float32)
    flat = np.zeros((1, 52, 3), np.float32)
    loose = flat.copy()
    loose[0, 22:] = relaxed_hands()
    before, after = (body.joints(pose, still, shape)[0] for pose in (flat, loose))
    for side in ("left", "right"):
        for finger in FINGERS[:-1]:
            tip = JOINT[f"{side}_{finger}3"]
            assert after[tip, 1] < before[tip, 1] - 0.005
        inside = [JOINT[f"{side}_thumb3"], JOINT[f"{side}_index2"]]
        apart = [np.linalg.norm(np.diff(joints[inside], axis=0)) for joints in (before, after)]
        assert apart[1] < apart[0]
    left, right = (
        np.array([after[JOINT[f"{side}_{finger}3"]] for finger in FINGERS]) for side in ("left", "right")
    )
    np.testing.assert_allclose(left * (-1, 1, 1), right, atol=0.005)
