"""The check of launch files names what is still to be set, and what keeps a file from working, and where."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.launch_files import CLUSTER, FILES, filled, make_home, of_containers, of_pods, of_types, set_all

from raymaskdp import __version__, cli
from raymaskdp.errors import UserError
from raymaskdp.operate.launch.check import inspect
from raymaskdp.operate.launch.machines import gpus_of


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that has what launch files copy to the machines, where they say that it is."""
    folder = make_home(tmp_path / "home")
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(CLUSTER.parent)
    return folder


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_is_to_be_set_is_little_at_the_top_and_named(path: Path, tmp_path: Path, home: Path) -> None:
    text = path.read_text()
    found = inspect(path)
    assert not found.healthy
    assert {check.verdict for check in found.checks} == {"wrong"}
    assert all("still says" in check.found for check in found.checks)  # and nothing else is wrong
    assert 3 <= len(found.checks) <= 5
    lines = [int(check.found.split()[1]) for check in found.checks]
    assert max(lines) <= 55  # at the top
    assert all(check.fix and check.fix != "put your own value there" for check in found.checks)
    # Nothing else in the file wants to be set: no placeholder escapes, and none is set twice.
    assert re.findall(r"<[^<>\s]+>", text.split("\n\n", 1)[-1] if text.startswith("# Ray") else text) == [
        name for check in found.checks for name in re.findall(r"<[^<>\s]+>", check.found)
    ]
    assert f"raymaskdp:{__version__}-cu126" in text
    assert f"raymaskdp:{__version__}-cu126" in (CLUSTER / "Dockerfile").read_text()
    assert "/whl/cu126" in (CLUSTER / "Dockerfile").read_text()

    assert inspect(filled(path.name, tmp_path)).healthy
    for name in set(re.findall(r"<([^<>\s]+)>", text)):
        (tmp_path / "left.yaml").write_text(set_all(path.name, text, but=name))
        (check,) = inspect(tmp_path / "left.yaml").checks
        assert f"<{name}>" in check.found  # this one is still to be set, and is all that is said

    (home / ".ray/auth_token").unlink()
    (home / ".raymaskdp-secret").unlink()
    shutil.rmtree(home / ".raymaskdp-ca")
    mounted = inspect(filled(path.name, tmp_path)).checks
    assert all(check.name.startswith("file_mounts.") for check in mounted if check.verdict == "wrong")
    assert {check.fix for check in mounted if check.verdict == "wrong"} in (
        set(),
        {
            "ray get-auth-token --generate",
            "sh cluster/tls.sh --new ~/.raymaskdp-ca",
            "(umask 077; head -c 32 /dev/urandom > ~/.raymaskdp-secret)",
        },
    )


def without_volume(settings: Any) -> None:
    of_pods(lambda pod: pod["volumes"].pop(0))(settings)
    of_containers(lambda box: box["volumeMounts"].pop(0))(settings)


def without_gpus(settings: Any) -> None:
    spec = settings["spec"].get("rayClusterSpec", settings["spec"])
    spec["workerGroupSpecs"] = [g for g in spec["workerGroupSpecs"] if not g["groupName"].startswith("gpu")]


def without_variable(name: str) -> Callable[[Any], object]:
    return of_containers(lambda box: box.update(env=[one for one in box["env"] if one["name"] != name]))


def with_image(image: str) -> Callable[[Any], object]:
    return lambda settings: settings["docker"].update(image=image)


def installs(line: str) -> Callable[[Any], object]:
    return lambda settings: settings["setup_commands"].append(line)


def twelve_nodes_of_one(settings: Any) -> None:
    for name, most in (("gpu_spot", 8), ("gpu_on_demand", 4)):
        node = settings["available_node_types"][name]
        node["max_workers"], node["resources"]["GPU"] = most, 1
        node["node_config"]["InstanceType"] = "g6.4xlarge"


OLD_IMAGE = "projects/p/global/images/family/common-cu128-ubuntu-2204-nvidia-570"
FAULTS: dict[str, tuple[str, Callable[[Any], object], str, str, str]] = {
    # what: file, how it comes about, where, what the doctor says, what it says to do
    "no role on Amazon's": (
        "aws.yaml",
        of_types(lambda node: node["node_config"].pop("IamInstanceProfile")),
        "available_node_types.gpu_spot",
        "no role and no file system",
        "IamInstanceProfile",
    ),
    "no account on Google's": (
        "gcp.yaml",
        of_types(lambda node: node["node_config"].pop("serviceAccounts")),
        "available_node_types.cpu",
        "no role and no file system",
        "serviceAccounts",
    ),
    "no volume": (
        "rayjob.yaml",
        without_volume,
        "spec.rayClusterSpec.workerGroupSpecs[0] (cpu)",
        "no role and no file system",
        "serviceAccountName",
    ),
    "no image id": (
        "aws.yaml",
        of_types(lambda node: node["node_config"].pop("ImageId")),
        "available_node_types.gpu_on_demand",
        "no ImageId",
        "ami-",
    ),
    "no source image": (
        "gcp.yaml",
        of_types(lambda node: node["node_config"].pop("disks")),
        "available_node_types.cpu",
        "no sourceImage",
        "set sourceImage",
    ),
    "twelve GPUs": ("aws.yaml", twelve_nodes_of_one, "GPUs", "have 12 GPUs, fewer than 64", "--gpus 12"),
    "few nodes in all": (
        "gcp.yaml",
        lambda settings: settings.update(max_workers=4),
        "GPUs",
        "have 16 GPUs",
        "raise max_workers",
    ),
    "no group with a GPU": (
        "rayjob.yaml",
        without_gpus,
        "GPUs",
        "no group of nodes has a GPU",
        "--gpus 0",
    ),
    "no /dev/shm": (
        "rayjob.yaml",
        of_containers(
            lambda box: box.update(volumeMounts=[m for m in box["volumeMounts"] if m["name"] != "shm"])
        ),
        "spec.rayClusterSpec.workerGroupSpecs[1] (gpu-spot)",
        "/dev/shm",
        "medium Memory",
    ),
    "a disk at /dev/shm": (
        "raycluster.yaml",
        of_pods(lambda pod: pod["volumes"][1].update(emptyDir={})),
        "spec.headGroupSpec",
        "/dev/shm",
        "medium Memory",
    ),
    "a small /dev/shm": (
        "raycluster.yaml",
        of_pods(lambda pod: pod["volumes"][1].update(emptyDir={"medium": "Memory", "sizeLimit": "4Gi"})),
        "spec.workerGroupSpecs[0] (cpu)",
        "of 4Gi is smaller than Ray's object store",
        "10Gi",
    ),
    "no /dev/shm by docker": (
        "aws.yaml",
        lambda settings: settings["docker"].update(disable_shm_size_detection=True),
        "available_node_types.head",
        "/dev/shm",
        "--shm-size",
    ),
    "CUDA 13 in the image": (
        "gcp.yaml",
        with_image("r/raymaskdp:0.1.0-cu130"),
        "available_node_types.gpu_spot",
        "built for CUDA 13, which needs a driver of 580 or later, and its nodes have 570",
        "whl/cu126",
    ),
    "an image that does not say its CUDA": (
        "gcp.yaml",
        with_image("r/raymaskdp:0.1.0"),
        "available_node_types.gpu_spot",
        "built for CUDA 13",
        "-cu126",
    ),
    "CUDA 13 from PyPI": (
        "gcp.yaml",
        installs("pip install -c constraints.txt -e '/home/ray/raymaskdp[gcs]'"),
        "available_node_types.gpu_on_demand",
        "built for CUDA 13",
        "whl/cu126",
    ),
    "no graphics in a pod": (
        "raycluster.yaml",
        without_variable("NVIDIA_DRIVER_CAPABILITIES"),
        "spec.workerGroupSpecs[1] (gpu-spot)",
        "no NVIDIA_DRIVER_CAPABILITIES, so the GPU cannot render with EGL",
        "compute,utility,graphics",
    ),
    "no graphics in a container": (
        "aws.yaml",
        lambda settings: settings["docker"].update(
            run_options=["-e NVIDIA_DRIVER_CAPABILITIES=compute,utility"]
        ),
        "available_node_types.gpu_spot",
        "NVIDIA_DRIVER_CAPABILITIES=compute,utility, which lacks graphics",
        "compute,utility,graphics",
    ),
    "another image": (
        "aws.yaml",
        with_image("rayproject/ray:2.60.0-py311-gpu"),
        "available_node_types.head",
        "the image rayproject/ray:2.60.0-py311-gpu is not the project's",
        "cluster/Dockerfile",
    ),
    "another image in pods": (
        "rayjob.yaml",
        of_containers(lambda box: box.update(image="rayproject/ray:2.60.0")),
        "spec.rayClusterSpec.headGroupSpec",
        "is not the project's",
        "cluster/Dockerfile",
    ),
    "TLS in some pods": (
        "raycluster.yaml",
        lambda settings: settings["spec"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0].pop(
            "env"
        ),
        "spec.workerGroupSpecs[0] (cpu)",
        "other pods use TLS",
        "RAY_USE_TLS",
    ),
    "a dashboard that nobody reaches": (
        "rayjob.yaml",
        lambda settings: settings["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"].update(
            {"dashboard-host": "127.0.0.1"}
        ),
        "spec.rayClusterSpec.headGroupSpec",
        "dashboard-host is 127.0.0.1",
        "remove dashboard-host",
    ),
    "more GPUs than the machine has": (
        "aws.yaml",
        lambda settings: settings["available_node_types"]["gpu_spot"]["resources"].update(GPU=8),
        "available_node_types.gpu_spot",
        "it has 8 GPUs by its resources and 4 GPUs by g6.12xlarge",
        "use the same number everywhere",
    ),
    "GPUs of a machine that has none": (
        "aws.yaml",
        lambda settings: settings["available_node_types"]["cpu"]["resources"].update(GPU=1),
        "available_node_types.cpu",
        "it has 1 GPUs by its resources and 0 GPUs by m7i.4xlarge",
        "use the same number everywhere",
    ),
    "more GPUs than are added": (
        "gcp.yaml",
        lambda settings: settings["available_node_types"]["gpu_spot"]["node_config"].update(
            guestAccelerators=[{"acceleratorType": "nvidia-l4", "acceleratorCount": 2}]
        ),
        "available_node_types.gpu_spot",
        "4 GPUs by its resources and 2 GPUs by its guestAccelerators and 4 GPUs by g2-standard-48",
        "use the same number everywhere",
    ),
    "other GPUs by Ray than by Kubernetes": (
        "rayjob.yaml",
        lambda settings: settings["spec"]["rayClusterSpec"]["workerGroupSpecs"][1].update(
            rayStartParams={"num-gpus": "2"}
        ),
        "spec.rayClusterSpec.workerGroupSpecs[1] (gpu-spot)",
        "2 GPUs by its rayStartParams",
        "use the same number everywhere",
    ),
    "workers that do not join": (
        "aws.yaml",
        lambda settings: settings.update(
            worker_start_ray_commands=[". /home/ray/tls/env && RAY_AUTH_MODE=token ray start"]
        ),
        "worker_start_ray_commands",
        "no --address, so each worker is a cluster of its own",
        "--address=$RAY_HEAD_IP:6379",
    ),
    "no head": (
        "gcp.yaml",
        lambda settings: settings.update(
            head_start_ray_commands=[
                ". /home/ray/tls/env && RAY_AUTH_MODE=token ray start --autoscaling-config=x"
            ]
        ),
        "head_start_ray_commands",
        "no --head, so no node becomes the head",
        "add --head",
    ),
    "a head that starts no workers": (
        "gcp.yaml",
        lambda settings: settings.update(
            head_start_ray_commands=[". /home/ray/tls/env && RAY_AUTH_MODE=token ray start --head"]
        ),
        "head_start_ray_commands",
        "no --autoscaling-config, so the head starts no workers",
        "ray_bootstrap_config.yaml",
    ),
    "no commands that set nodes up": (
        "aws.yaml",
        lambda settings: settings.pop("setup_commands"),
        "setup_commands",
        "read /home/ray/tls/env, which no command here makes",
        "use the setup_commands of cluster/",
    ),
    "no authority": (
        "aws.yaml",
        lambda settings: settings["file_mounts"].pop("/home/ray/ca"),
        "file_mounts",
        "nothing is copied to /home/ray/ca",
        "~/.raymaskdp-ca",
    ),
    "no token": (
        "gcp.yaml",
        lambda settings: settings["file_mounts"].pop("/home/ray/.ray/auth_token"),
        "file_mounts",
        "require a token and none is copied to them",
        "~/.ray/auth_token",
    ),
    "a token on the head alone": (
        "aws.yaml",
        lambda settings: settings.update(
            worker_start_ray_commands=[". /home/ray/tls/env && ray start --address=$RAY_HEAD_IP:6379"]
        ),
        "worker_start_ray_commands",
        "the other nodes require a token and these have none",
        "RAY_AUTH_MODE=token",
    ),
    "TLS on the head alone": (
        "aws.yaml",
        lambda settings: settings.update(
            worker_start_ray_commands=["RAY_AUTH_MODE=token ray start --address=$RAY_HEAD_IP:6379"]
        ),
        "worker_start_ray_commands",
        "the other nodes use TLS and these do not",
        "in the same way",
    ),
    "no token in pods": (
        "raycluster.yaml",
        lambda settings: [
            settings["spec"].pop("authOptions"),
            of_containers(lambda box: box["env"].append({"name": "RAY_AUTH_MODE", "value": "token"}))(
                settings
            ),
        ],
        "spec.headGroupSpec",
        "require a token and have none",
        "authOptions",
    ),
    "no rayVersion": (
        "raycluster.yaml",
        lambda settings: settings["spec"].pop("rayVersion"),
        "spec.rayVersion",
        "KubeRay guesses",
        "set it to that of the image",
    ),
    "an old rayVersion": (
        "rayjob.yaml",
        lambda settings: settings["spec"]["rayClusterSpec"].update(rayVersion="2.9.0"),
        "spec.rayClusterSpec.rayVersion",
        "it is 2.9.0, and the project's image has a Ray of",
        "set it to that of the image",
    ),
    "a rayVersion that is none": (
        "rayjob.yaml",
        lambda settings: settings["spec"]["rayClusterSpec"].update(rayVersion="latest"),
        "spec.rayClusterSpec.rayVersion",
        "it is latest",
        "set it to that of the image",
    ),
    "no form": (
        "aws.yaml",
        lambda settings: settings["available_node_types"].update(cpu=7),
        "available_node_types.cpu",
        "it is 7, and settings with names is needed",
        "cluster/",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_doctor_knows_a_fault_by_name(fault: str, tmp_path: Path) -> None:
    name, change, place, said, todo = FAULTS[fault]
    found = inspect(filled(name, tmp_path, change))
    assert not found.healthy
    assert str(found).endswith("Not ready: see the lines marked wrong.")
    (check,) = [check for check in found.checks if check.name == place]
    assert said in check.found
    assert todo in check.fix
    assert "\n" not in check.found + check.fix
    kinds = {re.sub(r"\S+[(\d)]\S*|headGroupSpec", "", check.found) for check in found.checks}
    assert len(kinds) == 1, kinds  # one fault, wherever it is


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("aws.yaml", r"region: \S+", "region:"),
        ("aws.yaml", r"region: \S+", 'region: ""'),
        ("aws.yaml", r"ImageId: \S+", "ImageId: ami-xxxxxxxx"),
        ("aws.yaml", r"ImageId: \S+", "ImageId: TODO"),
        ("aws.yaml", r"ImageId: \S+", "ImageId: YOUR_AMI"),
        ("aws.yaml", r"region: \S+", "region: <region"),
        ("aws.yaml", r"image: \S+(/raymaskdp:\S+)", r"image: \1"),
        ("gcp.yaml", r"project_id: \S+", "project_id:"),
        ("raycluster.yaml", r"claimName: \S+", 'claimName: ""'),
        ("raycluster.yaml", r"raymaskdp/claim: \S+", 'raymaskdp/claim: ""'),
    ],
)
def test_what_is_not_set_in_other_words_is_not_ready(name: str, old: str, new: str, tmp_path: Path) -> None:
    path = filled(name, tmp_path)
    text = path.read_text()
    changed = re.sub(old, new, text)
    assert changed != text
    path.write_text(changed)
    assert not inspect(path).healthy


def test_what_mends_a_fault_is_accepted(tmp_path: Path) -> None:
    def mount(settings: Any) -> None:
        of_types(lambda node: node["node_config"].pop("IamInstanceProfile"))(settings)
        settings["initialization_commands"] = ["sudo mount -t nfs4 fs.example:/ /data"]

    def newer(settings: Any) -> None:
        with_image("r/raymaskdp:0.1.0-cu130")(settings)
        for node in settings["available_node_types"].values():
            node["node_config"]["disks"][0]["initializeParams"]["sourceImage"] = OLD_IMAGE.replace(
                "570", "580"
            )

    def by_index(settings: Any) -> None:
        installs("pip install torch --index-url https://download.pytorch.org/whl/cu126")(settings)

    for name, change in (("aws.yaml", mount), ("gcp.yaml", newer), ("gcp.yaml", by_index)):
        assert inspect(filled(name, tmp_path, change)).healthy, change
    twelve = filled("aws.yaml", tmp_path, twelve_nodes_of_one)
    assert inspect(twelve, gpus=12).healthy
    assert inspect(filled("rayjob.yaml", tmp_path, without_gpus), gpus=0).healthy


def test_a_rayversion_that_is_not_the_images_is_named(tmp_path: Path) -> None:
    path = filled(
        "rayjob.yaml", tmp_path, of_containers(lambda box: box.update(image="rayproject/ray:2.58.0"))
    )
    said = {check.name: check.found for check in inspect(path).checks}
    assert said["spec.rayClusterSpec.rayVersion"] == (
        "it is 2.60.0, and the image rayproject/ray:2.58.0 has Ray 2.58.0"
    )


@pytest.mark.parametrize(
    ("machine", "gpus"),
    [
        ("m7i.xlarge", 0),
        ("g6.xlarge", 1),
        ("g5.12xlarge", 4),
        ("g6e.48xlarge", 8),
        ("p5.48xlarge", 8),
        ("n2-standard-16", 0),
        ("g2-standard-96", 8),
        ("a2-highgpu-4g", 4),
        ("a3-megagpu-8g", 8),
        ("g9.xlarge", None),
        ("n1-standard-8", None),
        ("", None),
    ],
)
def test_machines_have_gpus_by_their_names(machine: str, gpus: int | None) -> None:
    """n1 takes as many as are added."""
    assert gpus_of(machine) == gpus


def test_the_command_says_what_to_do(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "launch.yaml"
    path.write_text("provider:\n  region: <region> # near the videos\nworkers: [<many>, <so many>]\n")
    assert cli.main(["doctor", "--launch", str(path)]) == 1
    printed = capsys.readouterr().out
    assert "provider.region" in printed
    assert "line 2 still says <region>" in printed
    assert "→ near the videos" in printed
    assert "workers[0]" in printed
    assert "line 3 still says <so many>" in printed
    path.write_text("provider: {region: here} # not <region>\n")
    assert cli.main(["doctor", "--launch", str(path)]) == 1
    assert "neither node types for `ray up` nor a cluster for KubeRay" in capsys.readouterr().out
    few = filled("aws.yaml", tmp_path, twelve_nodes_of_one)
    assert cli.main(["doctor", "--launch", str(few)]) == 1
    assert cli.main(["doctor", "--launch", str(few), "--gpus", "12"]) == 0


@pytest.mark.parametrize(
    "content", [None, b"\xff\xfe\xfa", b"a: [", b"- a\n", b"", b"!!python/name:os.system x"]
)
def test_a_file_that_is_none_is_a_mistake(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "launch.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"launch\.yaml"):
        inspect(path)
