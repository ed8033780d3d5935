"""A launch file for KubeRay, a RayCluster or a RayJob, read as groups of pods."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import requires
from importlib.metadata import version as installed
from typing import Any

from packaging.requirements import Requirement
from packaging.version import InvalidVersion

from raymaskdp.operate.launch import entrypoint
from raymaskdp.operate.launch.faults import CAPABILITIES, LaunchPlan, NodeGroup, unequal

FILE_SYSTEMS = ("persistentVolumeClaim", "ephemeral", "nfs", "csi", "hostPath", "cephfs", "azureFile")
"""Kinds of volumes that can have videos."""

STORE_SHARE, MOST_STORE = 0.3, 10e9
"""Default size of Ray's object store: a share of a pod's memory, and a limit in bytes, whatever the size of
/dev/shm."""

UNITS = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}

MOST_BY_DEFAULT = 2**31 - 1
"""Default of maxReplicas."""

ROLE = "give its pods a serviceAccountName that may read and write the bucket, a mounted secret, or a volume"


def is_kuberay(settings: Mapping[str, Any]) -> bool:
    """Whether a file is for KubeRay and starts a cluster."""
    return "apiVersion" in settings or "kind" in settings


def plan_of(settings: Mapping[str, Any]) -> LaunchPlan:
    """The groups of pods of a RayCluster or a RayJob."""
    job = settings["kind"] == "RayJob"
    below = "spec.rayClusterSpec" if job else "spec"
    spec = settings["spec"].get("rayClusterSpec", {}) if job else settings["spec"]
    if job and "rayClusterSpec" not in settings["spec"]:
        return _job_alone(settings)
    grows = bool(spec.get("enableInTreeAutoscaling"))
    named = [("headGroupSpec", spec.get("headGroupSpec") or {})]
    named += [(f"workerGroupSpecs[{n}]", group) for n, group in enumerate(spec.get("workerGroupSpecs") or [])]
    secured = any(_variables(_ray(group)).get("RAY_USE_TLS") == "1" for _, group in named)
    groups = []
    for name, group in named:
        head = name == "headGroupSpec"
        container, pod = _ray(group), _pod(group)
        variables = _variables(container)
        asked = container.get("resources") or {}
        counts = _counts(group, asked)
        least, most = int(group.get("minReplicas", 0)), int(group.get("maxReplicas", MOST_BY_DEFAULT))
        gpus = next((count for count in counts.values() if count is not None), 0.0)
        groups.append(
            NodeGroup(
                place=f"{below}.{name}" + ("" if head else f" ({group.get('groupName', 'without a name')})"),
                head=head,
                gpus=gpus,
                most=1 if head else most if grows else min(most, max(least, int(group.get("replicas", 0)))),
                image=str(container.get("image") or ""),
                capabilities=variables.get(CAPABILITIES, ""),
                storage=_storage(pod, container),
                faults=(
                    *_no_shared_memory(pod, container),
                    *_unlike_others(variables, secured),
                    *_no_token(spec, container),
                    *unequal(counts),
                    *_no_volume(pod),
                    *(_hidden_dashboard(settings, group) if head else _no_number(group, least, most, grows)),
                ),
            )
        )
    images = [group.image for group in groups]
    return LaunchPlan(
        groups=tuple(groups),
        most=None,
        limit="maxReplicas",
        role=ROLE,
        faults=(
            *_versions(f"{below}.rayVersion", spec.get("rayVersion"), images),
            *_same_name(f"{below}.workerGroupSpecs", spec.get("workerGroupSpecs") or []),
            *(_of_job(settings["spec"]) if job else ()),
        ),
    )


def _job_alone(settings: Mapping[str, Any]) -> LaunchPlan:
    """A job for an existing cluster, or for none."""
    found = tuple(_of_job(settings["spec"]))
    if settings["spec"].get("clusterSelector"):
        said = "the cluster is in another file, so nothing of it is checked"
        doubt = ("spec.clusterSelector", said, "check that file, too")
        return LaunchPlan(
            groups=(), most=None, limit="", role="", faults=found, doubts=(doubt,), elsewhere=True
        )
    no_cluster = ("spec.rayClusterSpec", "it is missing", "copy that of cluster/kuberay/rayjob.yaml")
    return LaunchPlan(groups=(), most=None, limit="", role="", faults=(no_cluster, *found), elsewhere=True)


def _of_job(spec: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    if spec.get("submissionMode") != "InteractiveMode":
        yield from entrypoint.faults("spec.entrypoint", str(spec.get("entrypoint") or ""))
    if spec.get("ttlSecondsAfterFinished") and not spec.get("shutdownAfterJobFinishes"):
        yield (
            "spec.ttlSecondsAfterFinished",
            "KubeRay refuses it without shutdownAfterJobFinishes",
            "set shutdownAfterJobFinishes to true",
        )


def _same_name(place: str, groups: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, str]]:
    for name, count in Counter(str(group["groupName"]) for group in groups).items():
        if count > 1:
            yield place, f"{count} groups are called {name}", "give each group a name of its own"


def _no_number(group: Mapping[str, Any], least: int, most: int, grows: bool) -> Iterator[tuple[str, str]]:
    """Impossible numbers of pods."""
    now = int(group.get("replicas", least))
    if least > most:
        yield (
            f"it has at least {least} pods (minReplicas) and at most {most} (maxReplicas)",
            "lower minReplicas or raise maxReplicas",
        )
    elif now > most:
        yield f"it has {now} pods (replicas) and at most {most} (maxReplicas)", "raise maxReplicas"
    elif not grows and "maxReplicas" in group and most > max(now, least):
        yield (
            f"nothing starts more than {max(now, least)} of its {most} pods, since the cluster does not grow",
            "set enableInTreeAutoscaling to true, or replicas to the number that you want",
        )


def _no_volume(pod: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Mounts without a volume, which Kubernetes refuses."""
    volumes = {volume["name"] for volume in pod.get("volumes") or []}
    for container in (*(pod.get("initContainers") or []), *pod["containers"]):
        for mount in container.get("volumeMounts") or []:
            if mount["name"] not in volumes:
                yield (
                    f"its container {container['name']} mounts {mount['name']}, no volume of the pod",
                    "add it to the volumes, or remove the mount",
                )


def _counts(group: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, float | None]:
    """The GPUs of a pod by each place that specifies them."""
    counts = (
        ("its limits", (asked.get("limits") or {}).get("nvidia.com/gpu")),
        ("its requests", (asked.get("requests") or {}).get("nvidia.com/gpu")),
        ("its rayStartParams", (group.get("rayStartParams") or {}).get("num-gpus")),
    )
    return {where: None if count is None else float(count) for where, count in counts}


def _versions(place: str, version: Any, images: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Faults of rayVersion. KubeRay selects the way of starting Ray by it, but the image determines the
    version that runs.
    """
    ours = Requirement(next(one for one in requires("raymaskdp") or [] if re.match(r"ray\b", one)))
    todo = f"set it to that of the image, such as {installed('ray')}"
    if version is None:
        yield place, "there is none, so KubeRay guesses how Ray is started", todo
        return
    for image in dict.fromkeys(images):
        tagged = re.search(r"/ray(?:-ml)?:(\d+\.\d+\.\d+)", image)
        if tagged and tagged[1] != str(version):
            said = f"it is {version}, and the image {image} has Ray {tagged[1]}"
            yield place, said, f"set it to {tagged[1]}"
            return
    try:
        fits = ours.specifier.contains(str(version))
    except InvalidVersion:
        fits = False
    if not fits:
        yield place, f"it is {version}, and the project's image has a Ray of {ours.specifier}", todo


def _no_token(spec: Mapping[str, Any], container: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Missing tokens. KubeRay creates one on request; a file that sets Ray's variable brings its own."""
    names = {one["name"] for one in container.get("env") or []}
    asked = _variables(container).get("RAY_AUTH_MODE") == "token"
    made = (spec.get("authOptions") or {}).get("mode") == "token"
    if asked and not made and not names & {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}:
        yield (
            "its pods require a token and have none, so Ray does not start",
            "set authOptions to mode: token, for which KubeRay makes one",
        )


def _pod(group: Mapping[str, Any]) -> Mapping[str, Any]:
    return (group.get("template") or {}).get("spec") or {}


def _ray(group: Mapping[str, Any]) -> Mapping[str, Any]:
    """Ray's container; KubeRay assumes that it is the first one."""
    return next(iter(_pod(group).get("containers") or []), {})


def _variables(container: Mapping[str, Any]) -> dict[str, str]:
    return {one["name"]: str(one.get("value", "")) for one in container.get("env") or []}


def _storage(pod: Mapping[str, Any], container: Mapping[str, Any]) -> bool:
    """Whether there is an account, a mounted or given key, or a volume that is not scratch."""
    mounted = {mount["name"] for mount in container.get("volumeMounts") or []}
    volumes = [volume for volume in pod.get("volumes") or [] if volume["name"] in mounted]
    return bool(
        pod.get("serviceAccountName") not in (None, "default")
        or container.get("envFrom")
        or any("secretKeyRef" in (one.get("valueFrom") or {}) for one in container.get("env") or [])
        or any(kind in volume for volume in volumes for kind in (*FILE_SYSTEMS, "secret"))
    )


def _no_shared_memory(pod: Mapping[str, Any], container: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    mounts = {mount["mountPath"].rstrip("/"): mount["name"] for mount in container.get("volumeMounts") or []}
    volumes = {volume["name"]: volume for volume in pod.get("volumes") or []}
    shared = (volumes.get(mounts.get("/dev/shm", "")) or {}).get("emptyDir") or {}
    if shared.get("medium") != "Memory":
        yield (
            "its pods have only 64 MiB at /dev/shm, so Ray's object store uses the disk",
            "mount an emptyDir of medium Memory at /dev/shm",
        )
        return
    memory = _bytes(((container.get("resources") or {}).get("limits") or {}).get("memory"))
    size = _bytes(shared.get("sizeLimit"))
    if memory is not None and size is not None and size < min(STORE_SHARE * memory, MOST_STORE):
        yield (
            f"its /dev/shm of {shared['sizeLimit']} is smaller than Ray's object store, which uses the disk",
            "raise the sizeLimit to 30 % of the pod's memory, or to 10Gi",
        )


def _bytes(quantity: Any) -> float | None:
    """A quantity of Kubernetes; None if invalid."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kMGT]?i?)", str(quantity))
    return float(found[1]) * UNITS[found[2]] if found and found[2] in UNITS else None


def _unlike_others(variables: Mapping[str, str], secured: bool) -> Iterator[tuple[str, str]]:
    if secured and variables.get("RAY_USE_TLS") != "1":
        yield (
            "other pods use TLS and its pods do not, so they cannot connect",
            "give every group the same RAY_USE_TLS and RAY_TLS_ variables",
        )


def _hidden_dashboard(settings: Mapping[str, Any], group: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """A dashboard that is unreachable for the pod that submits a RayJob."""
    host = (group.get("rayStartParams") or {}).get("dashboard-host", "0.0.0.0")
    if settings["kind"] == "RayJob" and host in ("127.0.0.1", "localhost"):
        yield (
            f"its dashboard-host is {host}, where the pod that submits the job cannot reach it",
            "remove dashboard-host; KubeRay sets the right one",
        )
