"""A launch file for `ray up`, read as groups of nodes; with properties of Amazon's and Google's clouds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from raymaskdp.operate.launch import start
from raymaskdp.operate.launch.faults import CAPABILITIES, LaunchPlan, NodeGroup, unequal
from raymaskdp.operate.launch.machines import GPUS, gpus_of, new_machine, no_machine

MOUNTS = re.compile(r"\b(mount|mount\.\w+|gcsfuse|mount-s3|s3fs|efs)\b")
"""Commands that mount a remote file system on a node."""

MOST_BY_DEFAULT = 2
"""Number of workers if a file does not specify it."""

KEYS = re.compile(r"\.aws\b|credentials|gcloud|service.?account", re.IGNORECASE)
"""Names of files with credentials for a store."""

RAYS_OWN = ("", "latest_dlami")
"""Images that Ray selects itself on Amazon's cloud: of 2022, with drivers that are too old for our torch."""

ROLES = {
    "aws": "give its node_config an IamInstanceProfile that may read and write the bucket (Ray gives one to "
    "the head alone), or mount a file system in initialization_commands",
    "gcp": "give its node_config serviceAccounts with the scope cloud-platform (Ray gives one to the head "
    "alone), or mount a file system in initialization_commands",
}


def is_ray_up(settings: Mapping[str, Any]) -> bool:
    """Whether a file is for `ray up`."""
    return "available_node_types" in settings or {"cluster_name", "provider"} <= settings.keys()


def plan_of(settings: Mapping[str, Any]) -> LaunchPlan:
    """The groups of nodes of a file for `ray up`."""
    cloud = str(settings["provider"].get("type"))
    docker = settings.get("docker") or {}
    commands = tuple(start.commands(settings))
    keys = any(KEYS.search(str(there)) for there in settings.get("file_mounts") or {})
    most_of_all = int(settings.get("max_workers", MOST_BY_DEFAULT))
    groups = []
    for name, node in settings["available_node_types"].items():
        head = name == settings.get("head_node_type")
        container = docker | (node.get("docker") or {})
        launched = node.get("node_config") or {}
        resources = node.get("resources") or {}
        options = [
            *(container.get("run_options") or []),
            *(container.get("head_run_options" if head else "worker_run_options") or []),
        ]
        machine = _machine(launched)
        most = int(node.get("max_workers", 0 if head else most_of_all))
        groups.append(
            NodeGroup(
                place=f"available_node_types.{name}",
                head=head,
                gpus=float(resources.get("GPU", _accelerators(launched))),
                most=most,
                image=str(
                    container.get("head_image" if head else "worker_image") or container.get("image") or ""
                ),
                capabilities=_option(options, CAPABILITIES),
                driver=_driver(launched),
                storage=cloud not in ROLES or keys or _storage(cloud, launched, commands),
                faults=(
                    *no_machine(cloud, machine),
                    *_no_image(cloud, launched),
                    *_no_shared_memory(container, options),
                    *unequal(_counts(resources, launched)),
                    *_more_than_most(int(node.get("min_workers", 0)), most),
                ),
                doubts=tuple(new_machine(cloud, machine)),
            )
        )
    installs = tuple(line for line in commands if re.search(r"\bpip3? install\b|\buv pip\b", line))
    return LaunchPlan(
        groups=tuple(groups),
        most=most_of_all,
        limit="max_workers, of the file and of its node types,",
        role=ROLES.get(cloud, "mount a file system"),
        installs=installs,
        faults=(
            *_other_zone(settings["provider"]),
            *_no_such_head(settings),
            *_fewer_than_least(settings, most_of_all),
            *start.faults(settings),
        ),
        doubts=tuple(_other_cloud(cloud)),
    )


def _machine(launched: Mapping[str, Any]) -> str:
    return str(launched.get("InstanceType") or launched.get("machineType") or "").rsplit("/", 1)[-1]


def _no_such_head(settings: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    head, types = settings["head_node_type"], list(settings["available_node_types"])
    if head not in types:
        yield (
            "head_node_type",
            f"it is {head}, but available_node_types has only {' and '.join(types)}",
            "set it to one of them",
        )


def _more_than_most(least: int, most: int) -> Iterator[tuple[str, str]]:
    if least > most:
        yield (
            f"it has at least {least} nodes (min_workers) and at most {most} (max_workers)",
            "lower its min_workers or raise max_workers",
        )


def _fewer_than_least(settings: Mapping[str, Any], most: int) -> Iterator[tuple[str, str, str]]:
    least = sum(int(node.get("min_workers", 0)) for node in settings["available_node_types"].values())
    if least > most:
        yield (
            "max_workers",
            f"{most} nodes are allowed in all, and the min_workers of all types are {least}",
            f"raise it to {least}, or lower min_workers",
        )


def _other_zone(provider: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """A zone whose name does not begin with that of its region."""
    region, zones = str(provider.get("region") or ""), str(provider.get("availability_zone") or "")
    for zone in re.split(r"\s*,\s*", zones):
        if region and zone and "<" not in region + zone and not zone.startswith(region):
            yield (
                "provider.availability_zone",
                f"{zone} is not a zone of {region}",
                f"set it to a zone of {region}, or change the region",
            )


def _other_cloud(cloud: str) -> Iterator[tuple[str, str, str]]:
    if cloud not in GPUS:
        yield (
            "provider.type",
            f"machines, images and roles of {cloud} are not known to this doctor, so they are not checked",
            "start one node first, and run raymaskdp doctor on it",
        )


def _counts(resources: Mapping[str, Any], launched: Mapping[str, Any]) -> dict[str, float | None]:
    """The GPUs of a node by each place that specifies them."""
    machine = _machine(launched)
    added = launched.get("guestAccelerators")
    return {
        "its resources": float(resources["GPU"]) if "GPU" in resources else None,
        "its guestAccelerators": None if added is None else _accelerators(launched),
        machine: gpus_of(machine),
    }


def _option(options: list[str], name: str) -> str:
    """The value of a variable in the options of `docker run`."""
    found = re.findall(rf"{name}=[\"']?([\w,]*)", " ".join(map(str, options)))
    return found[-1] if found else ""


def _storage(cloud: str, launched: Mapping[str, Any], commands: tuple[str, ...]) -> bool:
    if any(MOUNTS.search(line) for line in commands):
        return True
    if cloud == "aws":
        profile = launched.get("IamInstanceProfile") or {}
        return bool(profile.get("Name") or profile.get("Arn"))
    return any(account.get("scopes") for account in launched.get("serviceAccounts") or [])


def _no_image(cloud: str, launched: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if cloud == "aws" and str(launched.get("ImageId") or "").lower() in RAYS_OWN:
        yield (
            "its node_config has no ImageId, and Ray's default is of 2022, or does not exist",
            "set ImageId to an image (ami-…) with Docker, NVIDIA's driver and its container toolkit",
        )
    if cloud == "gcp" and not any(map(_source_image, launched.get("disks") or [])):
        yield (
            "its disks name no sourceImage, so no node of it can start",
            "set sourceImage to an image with Docker, NVIDIA's driver and container toolkit",
        )


def _accelerators(launched: Mapping[str, Any]) -> int:
    """The GPUs attached to a machine of Google's, if its resources do not specify them."""
    return sum(int(one.get("acceleratorCount", 0)) for one in launched.get("guestAccelerators") or [])


def _source_image(disk: Mapping[str, Any]) -> str:
    return str((disk.get("initializeParams") or {}).get("sourceImage") or "")


def _driver(launched: Mapping[str, Any]) -> int | None:
    """The driver of an image of Google's, by its name."""
    for disk in launched.get("disks") or []:
        found = re.search(r"nvidia-(\d{3})", _source_image(disk))
        if found:
            return int(found[1])
    return None


def _no_shared_memory(container: Mapping[str, Any], options: list[str]) -> Iterator[tuple[str, str]]:
    """Disabled shared memory: by default Ray gives a container a share of /dev/shm."""
    if container.get("disable_shm_size_detection") and "--shm-size" not in " ".join(map(str, options)):
        yield (
            "its container has no memory at /dev/shm for Ray's object store",
            "remove disable_shm_size_detection, or add --shm-size to run_options",
        )
