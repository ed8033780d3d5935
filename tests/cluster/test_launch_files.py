"""Launch files are what Ray and KubeRay accept, with the Ray version that is tested."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from raymaskdp.anonymize.run_metrics import METRICS

ROOT = Path(__file__).parents[2]
SCHEMAS = ROOT.parent / "shared" / "schemas"


def ray_version() -> str:
    match = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert match
    return match.group(1)


def strict(schema: Any) -> Any:
    """The schema with unknown fields refused, and Kubernetes' int-or-string spelled out."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: strict(value) for key, value in schema.items()}
    if result.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    fields = "properties" in result and isinstance(result["properties"], dict)
    if fields and result.get("type") == "object" and not result.get("x-kubernetes-preserve-unknown-fields"):
        result.setdefault("additionalProperties", False)
    return result


def kuberay_schema(plural: str) -> Any:
    path = SCHEMAS / f"ray.io_{plural}.yaml"
    if not path.is_file():
        pytest.skip("KubeRay's resource definitions are not beside the project (../shared/schemas).")
    versions = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)["spec"]["versions"]  # it is large
    schema = next(v for v in versions if v["name"] == "v1")["schema"]["openAPIV3Schema"]
    schema["properties"]["metadata"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return strict(schema)


@pytest.mark.parametrize("path", sorted(ROOT.glob("cluster/*.yaml")), ids=lambda p: p.name)
def test_ray_up_accepts(path: Path) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load(path.read_text())
    validate_config(prepare_config(config))
    assert config["available_node_types"][config["head_node_type"]]["resources"] == {"CPU": 0}
    assert all(node.get("min_workers", 0) == 0 for node in config["available_node_types"].values())
    assert config["docker"]["image"].startswith("<registry>/raymaskdp:")
    (images,) = {str(node["node_config"].get("ImageId")) for node in config["available_node_types"].values()}
    assert config["provider"]["type"] != "aws" or images == "<image>"
    for command in (config["head_start_ray_commands"][-1], config["worker_start_ray_commands"][-1]):
        assert command.startswith(". /home/ray/tls/env && RAY_AUTH_MODE=token ray start")
    assert "--dashboard-host=127.0.0.1" in config["head_start_ray_commands"][-1]
    # `ray start` makes no token itself: without one on every machine nothing starts.
    assert config["file_mounts"]["/home/ray/.ray/auth_token"] == "~/.ray/auth_token"


@pytest.mark.parametrize("path", sorted(ROOT.glob("cluster/kuberay/ray*.yaml")), ids=lambda p: p.name)
def test_kuberay_accepts(path: Path) -> None:
    resource = yaml.safe_load(path.read_text())
    schema = kuberay_schema(resource["kind"].lower() + "s")
    jsonschema.validate(resource, schema)
    cluster = resource["spec"].get("rayClusterSpec", resource["spec"])
    assert cluster["rayVersion"] == ray_version()
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    misspelt = {**resource, "spec": {**resource["spec"], "shutDownAfterJobFinishes": True}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(misspelt, schema)


def test_a_machine_gets_a_certificate_that_its_cluster_trusts(tmp_path: Path) -> None:
    script = ROOT / "cluster/tls.sh"
    for arguments in (["--new", tmp_path / "ca"], [tmp_path / "ca", tmp_path / "tls"]):
        subprocess.run(["sh", script, *arguments], check=True, capture_output=True)
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "tls").iterdir()} == {0}
    check = ["openssl", "verify", "-CAfile", tmp_path / "ca/ca.crt", "-verify_ip", "127.0.0.1"]
    subprocess.run([*check, tmp_path / "tls/tls.crt"], check=True, capture_output=True)
    assert "RAY_USE_TLS=1" in (tmp_path / "tls/env").read_text()


@pytest.mark.parametrize("path", sorted(ROOT.glob("cluster/kuberay/ray*.yaml")), ids=lambda p: p.name)
def test_pods_talk_through_tls(path: Path, tmp_path: Path) -> None:
    """Every container of Ray has the variables and the files; the pod's own command makes what they name."""
    spec = yaml.safe_load(path.read_text())["spec"]
    spec = spec.get("rayClusterSpec", spec)
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        (ray,) = pod["containers"]
        (certificate,) = pod["initContainers"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert volumes["ca"]["secret"]["defaultMode"] == 0o440
        assert volumes["tls"]["emptyDir"]["medium"] == "Memory"  # keys are on no disk
        for container in (ray, spec["autoscalerOptions"]):
            mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
            assert mounts["tls"] == "/tls"
            assert "ca" not in mounts  # who works cannot make certificates
            variables = {variable["name"]: variable["value"] for variable in container["env"]}
            assert variables["RAY_USE_TLS"] == "1"
            assert "graphics" in variables["NVIDIA_DRIVER_CAPABILITIES"]
        assert {mount["mountPath"] for mount in certificate["volumeMounts"]} == {"/ca", "/tls"}

        shell, script, ca, out, name = certificate["command"]
        called = name.replace("$(CLUSTER)", "raymaskdp").replace("$(NAMESPACE)", "default")
        here = {"/ca": tmp_path / "ca", "/tls": tmp_path / group.get("groupName", "head")}
        if not here["/ca"].exists():
            subprocess.run([shell, ROOT / script, "--new", here["/ca"]], check=True, capture_output=True)
        made = here["/tls"] / Path(out).relative_to("/tls")
        subprocess.run([shell, ROOT / script, here[ca], made, called], check=True, capture_output=True)
        files = {value for name, value in variables.items() if name.startswith("RAY_TLS_")}
        assert all((here["/tls"] / Path(value).relative_to("/tls")).is_file() for value in files)
        check = ["openssl", "verify", "-CAfile", here["/ca"] / "ca.crt", "-verify_hostname"]
        head = "raymaskdp-head-svc.default.svc.cluster.local"  # what workers call
        subprocess.run([*check, head, made / "tls.crt"], check=True, capture_output=True)


def test_the_image_has_the_tested_ray_and_what_gpus_need() -> None:
    lines = (ROOT / "cluster/Dockerfile").read_text().splitlines()
    assert any(line.startswith(f"FROM rayproject/ray:{ray_version()}-") for line in lines)
    assert "ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility,graphics" in lines
    # PyTorch 2.13 comes for CUDA 12.6, 13.0 and 13.2; the first runs with every driver of these years.
    assert "ARG TORCH_INDEX=https://download.pytorch.org/whl/cu126" in lines


def test_the_dashboard_shows_the_metrics_that_there_are() -> None:
    board = json.loads((ROOT / "cluster/monitoring/grafana.json").read_text())
    shown = " ".join(target["expr"] for panel in board["panels"] for target in panel["targets"])
    named = {name.removesuffix("_total") for name in re.findall(r"ray_(raymaskdp_\w+)", shown)}
    assert named == set(METRICS)
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    assert all(panel["description"] for panel in board["panels"])


def test_every_group_of_gpu_nodes_starts_at_zero_and_spot_comes_first() -> None:
    for path in (ROOT / "cluster/aws.yaml", ROOT / "cluster/gcp.yaml"):
        nodes = yaml.safe_load(path.read_text())["available_node_types"]
        assert nodes["gpu_spot"]["priority"] > nodes["gpu_on_demand"]["priority"]
        assert nodes["gpu_spot"]["resources"] == nodes["gpu_on_demand"]["resources"]
        for name in ("gpu_spot", "gpu_on_demand"):
            assert nodes[name]["max_workers"] * nodes[name]["resources"]["GPU"] == 64
    for path in (ROOT / "cluster/kuberay/raycluster.yaml", ROOT / "cluster/kuberay/rayjob.yaml"):
        spec = yaml.safe_load(path.read_text())["spec"]
        spec = spec.get("rayClusterSpec", spec)
        groups = {group["groupName"]: group for group in spec["workerGroupSpecs"]}
        assert groups["gpu-spot"]["priority"] > groups["gpu-on-demand"]["priority"]
        assert {groups[name]["maxReplicas"] for name in ("gpu-spot", "gpu-on-demand")} == {64}
        assert all(group["minReplicas"] == 0 for group in groups.values())
        assert spec["authOptions"]["mode"] == "token"
