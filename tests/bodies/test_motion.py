import dataclasses

import numpy as np
import pytest

from raymaskdp.bodies.motion import Motion


def test_shapes_are_checked():
    motion = Motion(
        rotations_TJ3=np.zeros((4, 52, 3), dtype=np.float32),
        translation_T3=np.zeros((4, 3), dtype=np.float32),
        visible_T=np.ones(4, dtype=bool),
        betas_S=np.zeros(10, dtype=np.float32),
        camera_33=np.eye(3),
        track_id=1,
    )
    assert motion.num_frames == 4
    with pytest.raises(ValueError, match=r"translation_T3 must have shape \(4, 3\)"):
        dataclasses.replace(motion, translation_T3=np.zeros((5, 3)))
    with pytest.raises(ValueError, match="rotations_TJ3"):
        dataclasses.replace(motion, rotations_TJ3=np.zeros((4, 24, 3)))
