"""Launch files are what Ray and KubeRay accept, with the Ray version that is tested."""

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

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
    versions = yaml.safe_load(path.read_text())["spec"]["versions"]
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
    assert f":{ray_version()}-" in config["docker"]["image"]
    assert "RAY_AUTH_MODE=token" in " ".join(config["head_start_ray_commands"])


@pytest.mark.parametrize("path", sorted(ROOT.glob("cluster/kuberay/*.yaml")), ids=lambda p: p.name)
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


def test_the_image_has_the_tested_ray() -> None:
    assert f"rayproject/ray:{ray_version()}-" in (ROOT / "cluster/Dockerfile").read_text()
