"""The rules of the house: imports point one way, and each Ray library is known in one file."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "raymaskdp"
MODULES = sorted(PACKAGE.rglob("*.py"))

# What a part may import besides itself and the foundations.
FOUNDATIONS = {"config", "check", "errors", "files", "storage", "events", "__init__"}
PARTS = {"models", "privacy", "bodies", "video", "datasets", "distributed"}
MAY_IMPORT = {
    "models": set[str](),
    "privacy": set[str](),
    "video": set[str](),
    "bodies": set[str](),
    "datasets": {"video"},
    "distributed": set[str](),
    "anonymize": PARTS,
    "synthetic": PARTS | {"anonymize"},  # lessons for the networks of `anonymize`
    "train": PARTS,
    "sweep": PARTS | {"train"},
    "audit": PARTS | {"anonymize", "train", "sweep"},  # shadow models are trained on Ray Tune
    "report": PARTS | {"anonymize", "train", "sweep", "audit"},
    "operate": PARTS | {"anonymize", "train", "sweep"},
}
# What a room of `anonymize` may import of it: rooms below; all of them may import `item`.
ROOMS = {
    "item": set[str](),
    "people": set[str](),
    "background": set[str](),
    "verify": set[str](),
    "output": set[str](),
    "compose": {"people", "background", "verify", "output"},
    "config": {"people", "background", "verify", "compose"},
}
KNOWS = {
    "ray.data": {"distributed/map_rows.py"},
    "ray.train": {"train/trainer.py"},
    "ray.tune": {"sweep/tuner.py"},
    "ray": {
        "distributed/connect.py",
        "distributed/map_rows.py",
        "distributed/metrics.py",
        "train/trainer.py",
        "sweep/tuner.py",
        "operate/jobs.py",
    },
    "ray.job_submission": {"operate/jobs.py"},
}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part_of(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    part = part_of(path)
    if part in FOUNDATIONS:
        allowed = FOUNDATIONS
    elif part in MAY_IMPORT:
        allowed = FOUNDATIONS | MAY_IMPORT[part] | {part}
    else:
        return  # cli, demo and benchmarks stand above everything
    used = {name.split(".")[1] for name in imports(path) if name.startswith("raymaskdp.")}
    parts = {name for name in used if (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()}
    assert parts <= allowed


@pytest.mark.parametrize("path", sorted((PACKAGE / "anonymize").rglob("*.py")), ids=lambda p: p.stem)
def test_rooms_of_anonymize_know_those_below(path: Path) -> None:
    relative = path.relative_to(PACKAGE / "anonymize")
    room = relative.parts[0].removesuffix(".py")
    if room not in ROOMS:
        return  # the stages and the command stand above all rooms
    used = {name.split(".")[2] for name in imports(path) if name.startswith("raymaskdp.anonymize.")}
    assert used <= ROOMS[room] | {room, "item"}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_ray_is_known_in_one_file_a_library(path: Path) -> None:
    relative = str(path.relative_to(PACKAGE))
    for library, files in KNOWS.items():
        if relative not in files:
            known = {name for name in imports(path) if name == library or name.startswith(f"{library}.")}
            assert not known, f"{relative} imports {known}"


def test_the_rules_see_imports(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("def f():\n    from ray import data\n    import raymaskdp.train.loop\n")
    assert set(imports(tmp_path / "x.py")) == {"ray", "ray.data", "raymaskdp.train.loop"}
