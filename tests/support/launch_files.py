"""Launch files with everything set, and changed, for tests of what the doctor says of them."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

CLUSTER = Path(__file__).parents[2] / "cluster"
FILES = [*sorted(CLUSTER.glob("*.yaml")), *sorted(CLUSTER.glob("kuberay/ray*.yaml"))]


def make_home(folder: Path) -> Path:
    """A home that has what launch files copy to the machines, where they say that it is."""
    (folder / ".raymaskdp-ca").mkdir(parents=True)
    (folder / ".ray").mkdir()
    (folder / ".raymaskdp-ca/ca.crt").touch()
    (folder / ".raymaskdp-ca/ca.key").touch()
    for name, content in ((".ray/auth_token", b"x"), (".raymaskdp-secret", bytes(32))):
        (folder / name).touch(mode=0o600)
        (folder / name).write_bytes(content)
    return folder


def filled(name: str, folder: Path, change: Callable[[Any], object] = lambda _: None) -> Path:
    """A launch file with every placeholder filled, and changed."""
    (path,) = [path for path in FILES if path.name == name]
    settings = copy.deepcopy(yaml.safe_load(set_all(name, path.read_text())))
    settings = yaml.safe_load(
        yaml.dump(settings, Dumper=NoAliases, sort_keys=False)
    )  # what was shared is a part of each
    change(settings)
    (folder / name).write_text(yaml.dump(settings, sort_keys=False))
    return folder / name


VALUES = {"aws.yaml": {"region": "us-west-2", "image": "ami-0a1b2c3d"}}
VALUES["gcp.yaml"] = {"region": "us-west1", "zone": "us-west1-a", "project": "p", "account": "a@p.iam"}


def set_all(name: str, text: str, but: str = "") -> str:
    """The text of a launch file with every placeholder set, but for one."""
    values = VALUES.get(name, {})
    return re.sub(
        r"<([^<>\s]+)>", lambda found: found[0] if found[1] == but else values.get(found[1], found[1]), text
    )


class NoAliases(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def of_types(change: Callable[[Any], object]) -> Callable[[Any], object]:
    """A change of every type of nodes but the head's."""
    return lambda settings: [
        change(node) for name, node in settings["available_node_types"].items() if name != "head"
    ]


def of_pods(change: Callable[[Any], object]) -> Callable[[Any], object]:
    """A change of every group of pods."""

    def go(settings: Any) -> None:
        spec = settings["spec"].get("rayClusterSpec", settings["spec"])
        for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
            change(group["template"]["spec"])

    return go


def of_containers(change: Callable[[Any], object]) -> Callable[[Any], object]:
    return of_pods(lambda pod: change(pod["containers"][0]))
