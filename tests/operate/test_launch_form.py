"""Launch files that Ray, KubeRay or a cloud would refuse, or that start something else, are not ready."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.launch_files import CLUSTER, FILES, filled, make_home, of_types

from raymaskdp.errors import UserError
from raymaskdp.operate.launch import form
from raymaskdp.operate.launch.check import inspect

SCHEMAS = CLUSTER.parents[1] / "shared/schemas"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = make_home(tmp_path / "home")
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(CLUSTER.parent)
    return folder


def at(path: str, value: Any = None) -> Callable[[Any], None]:
    """A change of one setting, which is taken out where there is no value."""

    def go(settings: Any) -> None:
        *above, last = [int(part) if part.isdigit() else part for part in path.split("/")]
        for part in above:
            settings = settings[part]
        if value is None:
            settings.pop(last)
        else:
            settings[last] = value

    return go


def both(*changes: Callable[[Any], object]) -> Callable[[Any], None]:
    def go(settings: Any) -> None:
        for change in changes:
            change(settings)

    return go


JOINS = ". /home/ray/tls/env && RAY_AUTH_MODE=token ray start {}"
TYPES, GROUPS, JOB_GROUPS = (
    "available_node_types",
    "spec/workerGroupSpecs",
    "spec/rayClusterSpec/workerGroupSpecs",
)
FAULTS: dict[str, tuple[str, Callable[[Any], object], str, str]] = {
    # what: file, how it comes about, where, what the doctor says and says to do
    "a cloud that is none": ("aws.yaml", at("provider/type", "awss"), "provider.type", "write aws"),
    "another cloud that is none": (
        "aws.yaml",
        at("provider/type", "mycloud"),
        "provider.type",
        "not a known value",
    ),
    "no kind of cloud": ("aws.yaml", at("provider/type"), "provider.type", "is missing"),
    "no region": ("aws.yaml", at("provider/region"), "provider.region", "us-west-2"),
    "no region of Google's": ("gcp.yaml", at("provider/region"), "provider.region", "us-west1"),
    "Google's region for Amazon": (
        "aws.yaml",
        at("provider/region", "us-west1"),
        "provider.region",
        "us-west1, which",
    ),
    "no zone": ("gcp.yaml", at("provider/availability_zone"), "provider.availability_zone", "is missing"),
    "another region's zone": (
        "gcp.yaml",
        at("provider/availability_zone", "europe-west4-a"),
        "provider.availability_zone",
        "not a zone of us-west1",
    ),
    "no project": ("gcp.yaml", at("provider/project_id"), "provider.project_id", "who|that pays"),
    "no user": ("aws.yaml", at("auth/ssh_user"), "auth.ssh_user", "such as ubuntu"),
    "no name": ("aws.yaml", at("cluster_name"), "cluster_name", "is missing"),
    "an empty name": ("aws.yaml", at("cluster_name", ""), "cluster_name", "letters"),
    "a name that Google refuses": (
        "gcp.yaml",
        at("cluster_name", "My_Cluster"),
        "cluster_name",
        "small letters",
    ),
    "no container's name": ("aws.yaml", at("docker/container_name"), "docker.container_name", "is missing"),
    "no types of nodes": ("aws.yaml", at(TYPES), TYPES, "is missing"),
    "types of nodes that are none": ("aws.yaml", at(TYPES, {}), TYPES, "empty"),
    "no head": ("aws.yaml", at("head_node_type"), "head_node_type", "is missing"),
    "a head that is no type": (
        "aws.yaml",
        at("head_node_type", "haed"),
        "head_node_type",
        "head and cpu and gpu_spot",
    ),
    "a misspelt setting": ("aws.yaml", at("max_worker", 3), "max_worker", "write max_workers"),
    "a misspelt setting of a type": (
        "aws.yaml",
        at(f"{TYPES}/cpu/idle_timeout_minutes", 3),
        f"{TYPES}.cpu.idle_timeout_minutes",
        "Ray knows no such setting",
    ),
    "a machine that is none": (
        "aws.yaml",
        of_types(lambda node: node["node_config"].update(InstanceType="p4d.99xlarge")),
        f"{TYPES}.gpu_spot",
        "p4d.99xlarge is none of Amazon's machines",
    ),
    "a machine of the other cloud": (
        "aws.yaml",
        at(f"{TYPES}/cpu/node_config/InstanceType", "n2-standard-16"),
        f"{TYPES}.cpu",
        "none of Amazon's",
    ),
    "a machine of Amazon's": (
        "gcp.yaml",
        at(f"{TYPES}/cpu/node_config/machineType", "m7i.4xlarge"),
        f"{TYPES}.cpu",
        "none of Google's",
    ),
    "no machine": (
        "aws.yaml",
        at(f"{TYPES}/cpu/node_config/InstanceType"),
        f"{TYPES}.cpu.node_config.InstanceType",
        "is missing",
    ),
    "another port": (
        "aws.yaml",
        at("worker_start_ray_commands/1", JOINS.format("--address=$RAY_HEAD_IP:6380")),
        "worker_start_ray_commands",
        "it joins port 6380, but the head listens at 6379",
    ),
    "a head at another port": (
        "aws.yaml",
        at("head_start_ray_commands/1", JOINS.format("--head --port 7000 --autoscaling-config=x")),
        "worker_start_ray_commands",
        "--address=\\$RAY_HEAD_IP:7000",
    ),
    "a fixed address": (
        "aws.yaml",
        at("worker_start_ray_commands/1", JOINS.format("--address 10.0.0.7:6379")),
        "worker_start_ray_commands",
        "may not be the head",
    ),
    "workers that are heads": (
        "gcp.yaml",
        at("worker_start_ray_commands/1", JOINS.format("--head --address=$RAY_HEAD_IP:6379")),
        "worker_start_ray_commands",
        "remove --head",
    ),
    "a head that joins": (
        "gcp.yaml",
        at("head_start_ray_commands/1", JOINS.format("--head --address=x --autoscaling-config=y")),
        "head_start_ray_commands",
        "remove --address",
    ),
    "certificates elsewhere": (
        "gcp.yaml",
        at(
            "worker_start_ray_commands/1",
            JOINS.format("--address=$RAY_HEAD_IP:6379").replace("ray/tls", "ray/tls2"),
        ),
        "worker_start_ray_commands",
        "it reads /home/ray/tls2/env, but the setup_commands make certificates only in /home/ray/tls",
    ),
    "fewer than the least": (
        "aws.yaml",
        at(f"{TYPES}/cpu/min_workers", 9),
        f"{TYPES}.cpu",
        "at least 9 nodes .min_workers. and at most 8",
    ),
    "fewer in all than the least": (
        "aws.yaml",
        both(at(f"{TYPES}/gpu_spot/min_workers", 16), at(f"{TYPES}/gpu_on_demand/min_workers", 16)),
        "max_workers",
        "raise it to 32",
    ),
    "a number as a text": ("aws.yaml", at("max_workers", "many"), "max_workers", "a whole number is needed"),
    "a list for settings": (
        "aws.yaml",
        at("provider", ["aws"]),
        "provider",
        "a list, and settings with names is",
    ),
    "a text for a list": (
        "aws.yaml",
        at("setup_commands", "sh x"),
        "setup_commands",
        "a list is needed",
    ),
    "a profile that is a text": (
        "aws.yaml",
        at(f"{TYPES}/cpu/node_config/IamInstanceProfile", "me"),
        f"{TYPES}.cpu.node_config.IamInstanceProfile",
        "it is me, and settings",
    ),
    "a job without a command": ("rayjob.yaml", at("spec/entrypoint"), "spec.entrypoint", "no command"),
    "a job that does not say where to": (
        "rayjob.yaml",
        at("spec/entrypoint", "python jobs/anonymize.py /data/videos gpus=0.25"),
        "spec.entrypoint",
        "--out",
    ),
    "a job that ends in --out": (
        "rayjob.yaml",
        at("spec/entrypoint", "raymaskdp anonymize /data/videos --out"),
        "spec.entrypoint",
        "add --out",
    ),
    "a job without a source": (
        "rayjob.yaml",
        at("spec/entrypoint", "raymaskdp anonymize --out /data/out workers=4"),
        "spec.entrypoint",
        "no source",
    ),
    "a job that is none": (
        "rayjob.yaml",
        at("spec/entrypoint", "python jobs/anonymise.py /data --out /out"),
        "spec.entrypoint",
        "the image has no jobs/anonymise.py",
    ),
    "a job without a cluster": (
        "rayjob.yaml",
        at("spec/rayClusterSpec"),
        "spec.rayClusterSpec",
        "is missing",
    ),
    "a way to submit that is none": (
        "rayjob.yaml",
        at("spec/submissionMode", "K8JobMode"),
        "spec.submissionMode",
        "write K8sJobMode",
    ),
    "a time to live of a cluster that stays": (
        "rayjob.yaml",
        at("spec/shutdownAfterJobFinishes"),
        "spec.ttlSecondsAfterFinished",
        "shutdownAfterJobFinishes",
    ),
    "fewer pods than the least": (
        "raycluster.yaml",
        at(f"{GROUPS}/0/minReplicas", 9),
        "spec.workerGroupSpecs[0] (cpu)",
        "at least 9 pods .minReplicas. and at most 8",
    ),
    "more pods than the most": (
        "raycluster.yaml",
        at(f"{GROUPS}/0/replicas", 9),
        "spec.workerGroupSpecs[0] (cpu)",
        "raise maxReplicas",
    ),
    "a cluster that does not grow": (
        "raycluster.yaml",
        both(at("spec/enableInTreeAutoscaling"), *(at(f"{GROUPS}/{n}/replicas", 8) for n in (1, 2))),
        "spec.workerGroupSpecs[0] (cpu)",
        "enableInTreeAutoscaling",
    ),
    "an old version": ("raycluster.yaml", at("apiVersion", "ray.io/v1alpha1"), "apiVersion", "ray.io/v1"),
    "no version": ("raycluster.yaml", at("apiVersion"), "apiVersion", "is missing"),
    "a kind that is none": ("rayjob.yaml", at("kind", "RayJobs"), "kind", "write RayJob"),
    "no kind": ("rayjob.yaml", at("kind"), "kind", "is missing"),
    "no name of a cluster": ("raycluster.yaml", at("metadata/name"), "metadata.name", "is missing"),
    "a name that Kubernetes refuses": (
        "rayjob.yaml",
        at("metadata/name", "My_Job"),
        "metadata.name",
        "small",
    ),
    "a name that is too long": ("rayjob.yaml", at("metadata/name", "j" * 48), "metadata.name", "at most 47"),
    "a number for a text": (
        "rayjob.yaml",
        at("spec/rayClusterSpec/headGroupSpec/rayStartParams/num-cpus", 0),
        "spec.rayClusterSpec.headGroupSpec.rayStartParams.num-cpus",
        "put it in quotes",
    ),
    "a variable that is a number": (
        "rayjob.yaml",
        at("spec/rayClusterSpec/headGroupSpec/template/spec/containers/0/env/0/value", 1),
        "spec.rayClusterSpec.headGroupSpec.template.spec.containers[0].env[0].value",
        "put it in quotes",
    ),
    "an amount that is none": (
        "raycluster.yaml",
        at(f"{GROUPS}/0/template/spec/containers/0/resources/limits/memory", "48GB"),
        "spec.workerGroupSpecs[0].template.spec.containers[0].resources.limits.memory",
        "28Gi",
    ),
    "a misspelt setting of a group": (
        "raycluster.yaml",
        both(at(f"{GROUPS}/0/maxReplicas"), at(f"{GROUPS}/0/maxReplica", 9)),
        "spec.workerGroupSpecs[0].maxReplica",
        "write maxReplicas",
    ),
    "two groups of one name": (
        "raycluster.yaml",
        at(f"{GROUPS}/1/groupName", "gpu-on-demand"),
        "spec.workerGroupSpecs",
        "2 groups are called gpu-on-demand",
    ),
    "a mount of nothing": (
        "raycluster.yaml",
        at(f"{GROUPS}/0/template/spec/initContainers/0/volumeMounts/0/name", "cb"),
        "spec.workerGroupSpecs[0] (cpu)",
        "mounts cb, no volume",
    ),
    "a pod without containers": (
        "rayjob.yaml",
        at(f"{JOB_GROUPS}/0/template/spec/containers", []),
        "spec.rayClusterSpec.workerGroupSpecs[0].template.spec.containers",
        "empty",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_would_be_refused_is_not_ready(fault: str, tmp_path: Path) -> None:
    name, change, place, said = FAULTS[fault]
    found = inspect(filled(name, tmp_path, change))
    assert not found.healthy
    here = [f"{check.found} → {check.fix}" for check in found.checks if check.name == place]
    assert len(here) == 1, found.checks
    assert re.search(said, here[0])
    assert all(check.fix for check in found.checks)


@pytest.mark.parametrize(
    ("name", "content", "mode", "said"),
    [
        (".raymaskdp-secret", b"short", 0o600, "has 5 bytes, but runs need 32"),
        (".raymaskdp-secret", bytes(32), 0o644, "others on this machine may read"),
        (".ray/auth_token", b"\n", 0o600, "is empty"),
        (".raymaskdp-ca/ca.key", None, 0o600, "has no ca.key"),
    ],
)
def test_what_is_copied_is_looked_at(
    name: str, content: bytes | None, mode: int, said: str, home: Path, tmp_path: Path
) -> None:
    if content is None:
        (home / name).unlink()
    else:
        (home / name).write_bytes(content)
        (home / name).chmod(mode)
    (check,) = inspect(filled("aws.yaml", tmp_path)).checks
    assert check.verdict == "wrong"
    assert said in check.found


def test_a_token_as_ray_makes_it_is_accepted(home: Path, tmp_path: Path) -> None:
    """Ray asks for no rights of the file, and makes it as the umask says."""
    (home / ".ray/auth_token").chmod(0o644)
    assert inspect(filled("aws.yaml", tmp_path)).healthy


def test_what_the_doctor_says_to_type_mends_a_secret(home: Path, tmp_path: Path) -> None:
    for spoiled, mode in ((b"short", 0o600), (bytes(32), 0o644)):
        (home / ".raymaskdp-secret").write_bytes(spoiled)
        (home / ".raymaskdp-secret").chmod(mode)
        (check,) = inspect(filled("aws.yaml", tmp_path)).checks
        subprocess.run(["sh", "-c", check.fix], check=True, env={"HOME": str(home), "PATH": "/usr/bin:/bin"})
        assert inspect(filled("aws.yaml", tmp_path)).healthy


@pytest.mark.parametrize(
    ("name", "change", "place", "said"),
    [
        (
            "aws.yaml",
            both(
                at(f"{TYPES}/gpu_spot/node_config/InstanceType", "g9.12xlarge"),
                at(f"{TYPES}/gpu_on_demand/node_config/InstanceType", "g9.12xlarge"),
            ),
            f"{TYPES}.gpu_spot",
            "does not know the machine g9.12xlarge",
        ),
        (
            "raycluster.yaml",
            at("spec/newThing", {"a": 1}),
            "spec.newThing",
            "this doctor knows no such setting of KubeRay's",
        ),
        (
            "rayjob.yaml",
            both(at("spec/rayClusterSpec"), at("spec/clusterSelector", {"ray.io/cluster": "c"})),
            "spec.clusterSelector",
            "in another file",
        ),
    ],
)
def test_what_may_be_new_is_doubted_and_not_refused(
    name: str, change: Callable[[Any], object], place: str, said: str, tmp_path: Path
) -> None:
    found = inspect(filled(name, tmp_path, change))
    assert found.healthy
    assert str(found).splitlines()[-1].startswith("Ready as far as can be known here")
    assert {check.verdict for check in found.checks} == {"unsure"}
    assert said in next(check.found for check in found.checks if check.name == place)


def test_another_cloud_is_doubted(tmp_path: Path) -> None:
    def azure(settings: Any) -> None:
        settings["provider"] = {"type": "azure", "location": "westus2", "resource_group": "g"}
        for node in settings["available_node_types"].values():
            node["node_config"] = {"azure_arm_parameters": {"vmSize": "Standard_D4"}}

    found = inspect(filled("aws.yaml", tmp_path, azure))
    assert found.healthy
    assert "not known to this doctor" in found.checks[0].found


def test_joining_in_other_words_is_accepted(tmp_path: Path) -> None:
    for start in ('--address "${RAY_HEAD_IP}:6379"', "--block --address=$RAY_HEAD_IP:6379 --num-cpus 4"):
        change = at("worker_start_ray_commands/1", JOINS.format(start))
        assert inspect(filled("aws.yaml", tmp_path, change)).healthy, start
    moved = both(
        at("worker_start_ray_commands/1", JOINS.format("--address=$RAY_HEAD_IP:7000")),
        at("head_start_ray_commands/1", JOINS.format("--head --port=7000 --autoscaling-config=x")),
    )
    assert inspect(filled("aws.yaml", tmp_path, moved)).healthy
    for entry in (
        "cd /home/ray/raymaskdp && python jobs/anonymize.py --out=/data/out /data/videos",
        "raymaskdp anonymize --config /data/a.yaml /data/videos --out s3://bucket/out",
        "python -m raymaskdp train --config configs/demo.yaml",
        "python my_own.py",
    ):
        assert inspect(filled("rayjob.yaml", tmp_path, at("spec/entrypoint", entry))).healthy, entry
    still = both(
        at("spec/enableInTreeAutoscaling", False),
        *(at(f"{GROUPS}/{number}/replicas", count) for number, count in enumerate((8, 64, 64))),
    )
    assert inspect(filled("raycluster.yaml", tmp_path, still)).healthy


WRONG_FORMS = (None, 7, "text", [], [None], {"a": [1]})


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to all parts; of lists to the first one, since the others have the same form."""
    if path:
        yield path
    parts = node.items() if isinstance(node, dict) else enumerate(node[:1]) if isinstance(node, list) else ()
    for key, value in parts:
        yield from places(value, (*path, key))


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_form_of_any_part_is_a_python_error(path: Path, tmp_path: Path) -> None:
    """Every part of every file, replaced by what it is not: sentences, and never an exception."""
    whole = yaml.safe_load(filled(path.name, tmp_path).read_text())
    for place in places(whole):
        for value in WRONG_FORMS:
            above = whole
            for part in place[:-1]:
                above = above[part]
            kept, above[place[-1]] = above[place[-1]], value
            try:
                found = inspect_settings(whole, path)
            finally:
                above[place[-1]] = kept
            assert not re.search(r"Error|object is|NoneType|'\w+'", " ".join(found)), (place, value, found)


def inspect_settings(settings: Any, path: Path) -> list[str]:
    """What is said of settings, without writing and reading them as a file, which takes most of the time."""
    from raymaskdp.operate.launch import check

    root = yaml.compose("a: 1", Loader=yaml.SafeLoader)
    assert root is not None
    return [one.found for one in check._faults(path, root, settings, 64, ())]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cluster_name: a\nprovider: {type: aws}\ncluster_name: b\n", "line 3 is a duplicate"),
        ("cluster_name: a\nprovider: {type: aws}\n7: b\n", "line 3 has 7 for a name"),
        ("cluster_name: a\nprovider: {type: aws}\non: b\n", "line 3 has on for a name"),
        ("cluster_name: a\nprovider: {type: aws}\n~: b\n", "line 3 has ~ for a name"),
        ("cluster_name: &a [*a]\nprovider: {type: aws}\n", "a list, and a text is needed"),
    ],
)
def test_names_that_yaml_changes_or_drops_are_said(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "launch.yaml"
    path.write_text(text)
    assert said in str(inspect(path))


@pytest.mark.parametrize(
    "text", ["a: !!python/name:os.system x", "a: 2026-13-45", "? {a: b}\n: c", "a: 1\n---\nb: 2\n"]
)
def test_what_yaml_cannot_read_is_a_mistake(text: str, tmp_path: Path) -> None:
    (tmp_path / "launch.yaml").write_text(text)
    with pytest.raises(UserError, match=r"launch\.yaml cannot be read"):
        inspect(tmp_path / "launch.yaml")


def test_clouds_are_those_of_ray() -> None:
    """Ray is asked in a process of its own: it is not imported for a look at a file."""
    code = "from ray.autoscaler._private.providers import _NODE_PROVIDERS as known; print(*known)"
    known = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    ours = yaml.safe_load(Path(form.__file__).with_name("ray_up.schema.yaml").read_text())
    assert set(ours["properties"]["provider"]["properties"]["type"]["enum"]) == set(known.split())


def test_names_are_those_of_kuberay() -> None:
    ours = yaml.safe_load(Path(form.__file__).with_name("kuberay.schema.yaml").read_text())["definitions"]
    path = SCHEMAS / "ray.io_rayjobs.yaml"
    if not path.is_file():
        pytest.skip("KubeRay's resource definitions are not beside the project (../shared/schemas).")
    versions = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)["spec"]["versions"]
    job = next(one for one in versions if one["name"] == "v1")["schema"]["openAPIV3Schema"]["properties"][
        "spec"
    ]
    cluster = job["properties"]["rayClusterSpec"]
    for mine, theirs in (
        (ours["job"], job),
        (ours["cluster"], cluster),
        *(
            (ours["cluster"]["properties"][name], cluster["properties"][name])
            for name in ("headGroupSpec", "autoscalerOptions", "authOptions", "gcsFaultToleranceOptions")
        ),
        (
            ours["cluster"]["properties"]["workerGroupSpecs"]["items"],
            cluster["properties"]["workerGroupSpecs"]["items"],
        ),
    ):
        assert mine["properties"].keys() == theirs["properties"].keys()
