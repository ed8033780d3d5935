import numpy as np
from smplx.joint_names import SMPLH_JOINT_NAMES

from raymaskdp.bodies.skeleton import JOINT_NAMES, NUM_JOINTS, PARENTS


def test_names_are_those_of_smplx_in_their_order():
    assert list(JOINT_NAMES) == SMPLH_JOINT_NAMES[:NUM_JOINTS]


def test_parents_come_before_children_and_fingers_hang_on_wrists():
    assert PARENTS[0] == -1
    assert (PARENTS[1:] < np.arange(1, NUM_JOINTS)).all()
    for index, name in enumerate(JOINT_NAMES):
        side, _, joint = name.partition("_")
        if joint.endswith("1") and side in ("left", "right"):
            assert JOINT_NAMES[PARENTS[index]] == f"{side}_wrist"
        if joint.endswith(("2", "3")) and side in ("left", "right"):
            assert JOINT_NAMES[PARENTS[index]] == f"{side}_{joint[:-1]}{int(joint[-1]) - 1}"
