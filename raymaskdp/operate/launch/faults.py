"""What keeps a launch file from working although every line of it is set: faults of `ray up` and of KubeRay.

Both kinds of file are read as groups of equal nodes, and the rules are about those. What no file shows, as
the driver in an image of Amazon's, is not judged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from raymaskdp.operate.doctor import DRIVER_OF_CUDA, Check

CAPABILITIES = "NVIDIA_DRIVER_CAPABILITIES"

BUILD = "build cluster/Dockerfile, push it where the nodes may pull it, and name it raymaskdp:VERSION-cuNNN"


@dataclass(frozen=True, kw_only=True)
class NodeGroup:
    """Nodes of one kind, as a launch file asks for them.

    Attributes:
      place: where in the file.
      head: whether it is the head, on which no stage runs.
      gpus: of one node.
      most: nodes at a time.
      image: of the container.
      capabilities: what the container gets of NVIDIA's driver, as the file says it; "" where it says nothing.
      driver: first number of the driver's version, where the file tells.
      storage: whether there is a role, an account, a mounted key or a file system by which it reaches videos.
      faults: what else is wrong with it, each with what to do.
      doubts: what cannot be known of it here, each with how to find out.
    """

    place: str
    head: bool
    gpus: float
    most: int
    image: str
    capabilities: str
    driver: int | None = None
    storage: bool = True
    faults: tuple[tuple[str, str], ...] = ()
    doubts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class LaunchPlan:
    """A launch file's groups, with what all of them share.

    Attributes:
      groups: of nodes, the head among them.
      most: nodes beside the head, of all groups together; None without such a limit.
      limit: the setting that says so.
      role: how this kind of file gives a group access to videos.
      installs: shell commands that install Python packages on the nodes.
      faults: what is wrong with what all groups share: where, what, and what to do.
      doubts: what cannot be known of it here: where, what, and how to find out.
      elsewhere: whether the groups are in another file, so that there is nothing to say of them.
    """

    groups: tuple[NodeGroup, ...]
    most: int | None
    limit: str
    role: str
    installs: tuple[str, ...] = ()
    faults: tuple[tuple[str, str, str], ...] = ()
    doubts: tuple[tuple[str, str, str], ...] = ()
    elsewhere: bool = False


def faults(plan: LaunchPlan, gpus: int) -> Iterator[Check]:
    """Everything that is wrong with a file that is to reach `gpus` GPUs."""
    yield from _storage(plan)
    yield from _images(plan)
    if not plan.elsewhere:
        yield from _reach(plan, gpus)
    yield from _wheels(plan)
    yield from _graphics(plan)
    for group in plan.groups:
        for found, fix in group.faults:
            yield wrong(group.place, found, fix)
        for found, fix in group.doubts:
            yield unsure(group.place, found, fix)
    for place, found, fix in plan.faults:
        yield wrong(place, found, fix)
    for place, found, fix in plan.doubts:
        yield unsure(place, found, fix)


def unequal(counts: Mapping[str, float | None]) -> Iterator[tuple[str, str]]:
    """The fault of nodes of which a file says different numbers of GPUs, each by where it says so."""
    said = {where: count for where, count in counts.items() if count is not None}
    if len(set(said.values())) > 1:
        yield (
            f"it has {' and '.join(f'{count:g} GPUs by {where}' for where, count in said.items())}",
            "say the same number everywhere: that of the machine",
        )


def wrong(name: str, found: str, fix: str) -> Check:
    """A check that failed."""
    return Check(name=name, verdict="wrong", found=found, fix=fix)


def unsure(name: str, found: str, fix: str) -> Check:
    """A check that cannot be made here."""
    return Check(name=name, verdict="unsure", found=found, fix=fix)


def _storage(plan: LaunchPlan) -> Iterator[Check]:
    for group in plan.groups:
        if not group.head and not group.storage:
            yield wrong(
                group.place,
                "its nodes have no role and no file system, so they cannot reach the videos",
                plan.role,
            )


def _images(plan: LaunchPlan) -> Iterator[Check]:
    """One check an image, since groups mostly share one."""
    for image, place in _first(plan.groups, lambda group: group.image).items():
        name = image.rsplit("/", 1)[-1]
        if not re.search(r"raymaskdp", name):
            said = f"the image {image} is not the project's" if image else "there is no image"
            yield wrong(place, f"{said}, so the nodes have neither the project nor EGL", BUILD)


def _reach(plan: LaunchPlan, gpus: int) -> Iterator[Check]:
    having = [group for group in plan.groups if group.gpus and not group.head and group.most]
    if not gpus:
        return
    if not having:
        yield wrong(
            "GPUs",
            "no group of nodes has a GPU",
            "add a group that says its GPUs, as in the files of cluster/, or check with --gpus 0",
        )
        return
    reached, left = 0.0, plan.most
    for group in sorted(having, key=lambda group: -group.gpus):
        nodes = group.most if left is None else min(group.most, left)
        reached += nodes * group.gpus
        left = None if left is None else left - nodes
    if reached < gpus:
        yield wrong(
            "GPUs",
            f"all groups together reach {reached:g} GPUs, fewer than {gpus}",
            f"raise {plan.limit} or take nodes with more GPUs, or check with --gpus {reached:g}",
        )


def _wheels(plan: LaunchPlan) -> Iterator[Check]:
    """CUDA of the torch that the nodes get, beside the driver that they have."""
    for group in plan.groups:
        cuda = _cuda(group.image, plan.installs)
        wanted = DRIVER_OF_CUDA.get(cuda or 0, 0)
        if group.driver is not None and group.gpus and group.driver < wanted:
            yield wrong(
                group.place,
                f"its torch is built for CUDA {cuda}, which needs a driver of {wanted} or later, "
                f"and its nodes have {group.driver}",
                "use an image that was built with TORCH_INDEX=https://download.pytorch.org/whl/cu126 and has "
                "-cu126 in its tag, or nodes with a later driver",
            )


def _cuda(image: str, installs: Sequence[str]) -> int | None:
    """The first number of the CUDA that torch on a node is built for; PyPI's is built for CUDA 13."""
    for line in reversed(installs):
        if re.search(r"torch|raymaskdp", line):
            index = re.search(r"/whl/(cu(\d{2})|cpu)", line)
            return 13 if index is None else int(index[2] or 0)
    tag = re.search(r":[^:/]*-(?:cu(\d{2})\d*|cpu)$", image)
    return 13 if tag is None else int(tag[1] or 0)


def _graphics(plan: LaunchPlan) -> Iterator[Check]:
    for group in plan.groups:
        given = {word.strip() for word in group.capabilities.split(",")}
        if group.gpus and not given & {"graphics", "all"}:
            said = f"no {CAPABILITIES}"
            if group.capabilities:
                said = f"{CAPABILITIES}={group.capabilities}, which lacks graphics"
            yield wrong(
                group.place,
                f"its containers get {said}, so the GPU has no EGL to draw with",
                f"set {CAPABILITIES}=compute,utility,graphics",
            )


def _first(groups: Sequence[NodeGroup], what: Callable[[NodeGroup], str]) -> dict[str, str]:
    """The place where each value comes first."""
    places: dict[str, str] = {}
    for group in groups:
        places.setdefault(what(group), group.place)
    return places
