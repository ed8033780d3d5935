"""A launch file for `ray up`, read as groups of nodes; what is known of Amazon's and Google's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from raymaskdp.operate.launch_faults import CAPABILITIES, LaunchPlan, NodeGroup, unequal

MOUNTS = re.compile(r"\b(mount|mount\.\w+|gcsfuse|mount-s3|s3fs|efs)\b")
"""Commands that give a node a file system of others."""

KEYS = re.compile(r"\.aws\b|credentials|gcloud|service.?account", re.IGNORECASE)
"""Names of files that let their owner into a store."""

TLS = re.compile(r"(?:\.|source)\s+(\S*tls/env)")
"""How a command that starts Ray reads the variables that cluster/tls.sh makes."""

TOKEN_MODE = "RAY_AUTH_MODE=token"

MACHINES = {
    r"[mcrti]\d\w*\.\w+": 0,
    r"(g4dn|g5|g6|g6e)\.(|2|4|8|16)xlarge": 1,
    r"(g4dn|g5|g6|g6e)\.12xlarge|(g5|g6|g6e)\.24xlarge": 4,
    r"(g5|g6|g6e)\.48xlarge|g4dn\.metal": 8,
    r"p3\.2xlarge": 1,
    r"p3\.8xlarge": 4,
    r"p3\.16xlarge|p3dn\.24xlarge|p4de?\.24xlarge|p5e?n?\.48xlarge": 8,
    r"[enc]2d?-\w+-\d+|[cn]4-\w+-\d+": 0,
    r"g2-standard-(4|8|12|16|32)": 1,
    r"g2-standard-24": 2,
    r"g2-standard-48": 4,
    r"g2-standard-96": 8,
}
"""GPUs of machines by patterns of their names, as Amazon and Google list them."""

RAYS_OWN = ("", "latest_dlami")
"""Images that Ray looks up itself on Amazon's cloud: of 2022, with drivers that are too old for our torch."""

ROLES = {
    "aws": "give its node_config an IamInstanceProfile that may read and write the bucket (Ray gives one to "
    "the head alone), or mount a file system in initialization_commands",
    "gcp": "give its node_config serviceAccounts with the scope cloud-platform (Ray gives one to the head "
    "alone), or mount a file system in initialization_commands",
}


def is_ray_up(settings: Mapping[str, Any]) -> bool:
    """Whether a file is for `ray up`."""
    return isinstance(settings.get("provider"), dict) and isinstance(
        settings.get("available_node_types"), dict
    )


def plan_of(settings: Mapping[str, Any]) -> LaunchPlan:
    """The groups of nodes of a file for `ray up`."""
    cloud = str(settings["provider"].get("type"))
    docker = settings.get("docker") or {}
    commands = tuple(_commands(settings))
    keys = any(KEYS.search(str(there)) for there in settings.get("file_mounts") or {})
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
        most = int(node.get("max_workers", settings.get("max_workers", 0)))
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
                    *_no_image(cloud, launched),
                    *_no_shared_memory(container, options),
                    *unequal(_counts(resources, launched)),
                ),
            )
        )
    installs = tuple(line for line in commands if re.search(r"\bpip3? install\b|\buv pip\b", line))
    return LaunchPlan(
        groups=tuple(groups),
        most=int(settings.get("max_workers", 2)),
        limit="max_workers, of the file and of its node types,",
        role=ROLES.get(cloud, "mount a file system"),
        installs=installs,
        faults=(*_not_joined(settings), *_no_certificate(settings), *_no_token(settings)),
    )


def _commands(settings: Mapping[str, Any]) -> Iterator[str]:
    """All shell commands by which nodes are set up, in their order."""
    for when in ("initialization_commands", "setup_commands", "worker_setup_commands"):
        yield from map(str, settings.get(when) or [])


def _starts(settings: Mapping[str, Any], who: str) -> tuple[str, str]:
    """The name of the commands that start Ray on the head or on workers, and all of them; "" for none."""
    name = f"{who}_start_ray_commands"
    return name, "\n".join(map(str, settings.get(name) or []))


def _not_joined(settings: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """What `ray start` needs so that the nodes become one cluster."""
    for who, needed, otherwise in (
        ("head", "--head", "no node becomes the head"),
        ("head", "--autoscaling-config", "the head starts no workers"),
        ("worker", "--address", "each worker is a cluster of its own"),
    ):
        name, commands = _starts(settings, who)
        if commands and needed not in commands:
            told = {"--address": "--address=$RAY_HEAD_IP:6379", "--head": "--head"}.get(
                needed, "--autoscaling-config=~/ray_bootstrap_config.yaml"
            )
            yield name, f"its `ray start` has no {needed}, so {otherwise}", f"add {told}"


def _no_certificate(settings: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Of what the commands that start Ray read, and of what that is made from."""
    setup = "\n".join(_commands(settings))
    read = {who: TLS.findall(_starts(settings, who)[1]) for who in ("head", "worker")}
    if any(read.values()) and "tls.sh" not in setup:
        made = (read["head"] or read["worker"])[0]
        yield (
            "setup_commands",
            f"the commands that start Ray read {made}, and none here makes it, so no node starts",
            "take the setup_commands of cluster/",
        )
    mounts = [str(there).replace("~", "/home/ray", 1) for there in settings.get("file_mounts") or {}]
    for authority in re.findall(r"tls\.sh\s+(/\S+)", setup):
        if not any(authority == there or authority.startswith(f"{there}/") for there in mounts):
            yield (
                "file_mounts",
                f"nothing is copied to {authority}, from which certificates are made, so no node starts",
                f"add {authority}: ~/.raymaskdp-ca",
            )
    if bool(read["head"]) != bool(read["worker"]):
        lacking = "worker" if read["head"] else "head"
        yield (
            f"{lacking}_start_ray_commands",
            "the other nodes speak TLS and these do not, so they never meet",
            "start Ray in the same way on all of them",
        )


def _no_token(settings: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    asked = {who: TOKEN_MODE in _starts(settings, who)[1] for who in ("head", "worker")}
    if any(asked.values()) and not all(asked.values()):
        lacking = "worker" if asked["head"] else "head"
        yield (
            f"{lacking}_start_ray_commands",
            "the other nodes ask for a token and these do not, so they never meet",
            f"add {TOKEN_MODE} before `ray start`",
        )
    given = [str(there) for there in settings.get("file_mounts") or {}]
    if any(asked.values()) and not any(there.endswith(("/.ray/auth_token", "/.ray")) for there in given):
        yield (
            "file_mounts",
            "the nodes ask for a token and none is copied to them, so Ray does not start",
            "add /home/ray/.ray/auth_token: ~/.ray/auth_token",
        )


def _counts(resources: Mapping[str, Any], launched: Mapping[str, Any]) -> dict[str, float | None]:
    """The GPUs of a node by each place that tells."""
    machine = str(launched.get("InstanceType") or launched.get("machineType") or "").rsplit("/", 1)[-1]
    added = launched.get("guestAccelerators")
    return {
        "its resources": float(resources["GPU"]) if "GPU" in resources else None,
        "its guestAccelerators": None if added is None else _accelerators(launched),
        machine: gpus_of(machine),
    }


def gpus_of(machine: str) -> int | None:
    """The GPUs that a machine of Amazon's or Google's has, by the name of its kind; None where not known."""
    for kinds, gpus in MACHINES.items():
        if re.fullmatch(kinds, machine):
            return gpus
    found = re.fullmatch(r"a[234]-\w+gpu-(\d+)g", machine)
    return int(found[1]) if found else None


def _option(options: list[str], name: str) -> str:
    """The value of a variable that `docker run` sets."""
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
            "its node_config has no ImageId, and what Ray takes instead is of 2022, or is not there at all",
            "set ImageId to an image (ami-…) with Docker, NVIDIA's driver and its container toolkit",
        )
    if cloud == "gcp" and not any(map(_source_image, launched.get("disks") or [])):
        yield (
            "its disks name no sourceImage, so no node of it can start",
            "set sourceImage to an image with Docker, NVIDIA's driver and container toolkit",
        )


def _accelerators(launched: Mapping[str, Any]) -> int:
    """The GPUs that are added to a machine of Google's, where its resources do not say."""
    return sum(int(one.get("acceleratorCount", 0)) for one in launched.get("guestAccelerators") or [])


def _source_image(disk: Mapping[str, Any]) -> str:
    return str((disk.get("initializeParams") or {}).get("sourceImage") or "")


def _driver(launched: Mapping[str, Any]) -> int | None:
    """The driver that an image of Google's has by its name."""
    for disk in launched.get("disks") or []:
        found = re.search(r"nvidia-(\d{3})", _source_image(disk))
        if found:
            return int(found[1])
    return None


def _no_shared_memory(container: Mapping[str, Any], options: list[str]) -> Iterator[tuple[str, str]]:
    """Ray gives a container its share of /dev/shm, unless it is told not to."""
    if container.get("disable_shm_size_detection") and "--shm-size" not in " ".join(map(str, options)):
        yield (
            "its container gets no memory at /dev/shm, where Ray's object store lives",
            "take disable_shm_size_detection out, or give run_options a --shm-size",
        )
