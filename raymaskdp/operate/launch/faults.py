"""Faults of a complete launch file: for `ray up` and for KubeRay.

Both kinds of file are read as groups of equal nodes, and the rules apply to these. Properties that no file
shows, such as the driver in an image of Amazon's, are not checked.
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
    """Nodes of one kind in a launch file.

    Attributes:
      place: its place in the file.
      head: whether it is the head, which runs no stage.
      gpus: of one node.
      most: largest number of nodes.
      image: of the container.
      capabilities: the container's capabilities of NVIDIA's driver, as in the file; "" if not specified.
      driver: first number of the driver's version, if the file shows it.
      storage: whether a role, an account, a mounted key or a file system gives access to the videos.
      faults: other faults, each with its fix.
      doubts: what cannot be determined here, each with how to find out.
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
    """A launch file's groups, and their common settings.

    Attributes:
      groups: of nodes, including the head.
      most: largest number of nodes besides the head, of all groups together; None without such a limit.
      limit: the setting of that limit.
      role: how this kind of file gives a group access to videos.
      installs: shell commands that install Python packages on the nodes.
      faults: faults of the common settings: where, what, and the fix.
      doubts: what cannot be determined here: where, what, and how to find out.
      elsewhere: whether the groups are in another file, and cannot be checked.
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
    """All faults of a file that must provide `gpus` GPUs."""
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
    """The fault of nodes with contradictory numbers of GPUs, with the place of each."""
    said = {where: count for where, count in counts.items() if count is not None}
    if len(set(said.values())) > 1:
        yield (
            f"it has {' and '.join(f'{count:g} GPUs by {where}' for where, count in said.items())}",
            "use the same number everywhere: that of the machine",
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
    """One check for each image, because groups mostly share one."""
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
            "add a group with a number of GPUs, as in the files of cluster/, or check with --gpus 0",
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
            f"all groups together have {reached:g} GPUs, fewer than {gpus}",
            f"raise {plan.limit} or use nodes with more GPUs, or check with --gpus {reached:g}",
        )


def _wheels(plan: LaunchPlan) -> Iterator[Check]:
    """Compatibility of the nodes' torch (its CUDA version) with their driver."""
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
    """The first number of the CUDA version of torch on a node; PyPI's is built for CUDA 13."""
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
                f"its containers have {said}, so the GPU cannot render with EGL",
                f"set {CAPABILITIES}=compute,utility,graphics",
            )


def _first(groups: Sequence[NodeGroup], what: Callable[[NodeGroup], str]) -> dict[str, str]:
    """The first place of each value."""
    places: dict[str, str] = {}
    for group in groups:
        places.setdefault(what(group), group.place)
    return places
