"""The rules of the house: who imports whom, no circles, short modules, one name a thing, Ray in few files."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "raymaskdp"
MODULES = sorted(PACKAGE.rglob("*.py"))
NAMES = {path: str(path.relative_to(PACKAGE)) for path in MODULES}
DOTTED = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in MODULES
}

# What a part may import besides itself and the foundations.
FOUNDATIONS = {
    "check", "config", "errors", "events", "extensions", "files", "locks", "places", "storage", "__init__",
}  # fmt: skip
PARTS = {"models", "privacy", "bodies", "video", "datasets", "distributed"}
MAY_IMPORT = {
    "models": set[str](),
    "privacy": set[str](),
    "video": set[str](),
    "bodies": set[str](),
    "distributed": set[str](),
    "settings": set[str](),
    "datasets": {"video"},
    "anonymize": PARTS,
    "synthetic": PARTS | {"anonymize"},  # training examples for the networks of `anonymize`
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
    "verify": {"people", "background"},
    "output": set[str](),
    "compose": {"people", "background", "verify", "output"},
    "pools": set[str](),
    "config": {"people", "background", "verify", "compose", "pools"},
}
KNOWS = {
    "ray.data": {"distributed/map_rows.py"},
    "ray.train": {"train/run/ray_workers.py"},
    "ray.tune": {"sweep/tuner.py"},
    "ray.job_submission": {"operate/jobs.py"},
    "ray": {
        "distributed/connect.py",
        "distributed/map_rows.py",
        "distributed/metrics.py",
        "distributed/tries.py",
        "train/run/ray_workers.py",
        "sweep/tuner.py",
        "operate/jobs.py",
    },
    "fcntl": {"locks.py"},
    "filelock": {"locks.py"},
    "smplx": set[str](),  # its code may not be used commercially
}

MOST_LINES, MOST_MODULES = 400, 12
MOST_LINES_OF_A_FUNCTION = 60
"""Without its docstring."""


def imports(path: Path) -> Iterator[str]:
    """Names that a module imports, in functions, too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part_of(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


@pytest.mark.parametrize("path", MODULES, ids=NAMES.get)
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


@pytest.mark.parametrize("path", sorted((PACKAGE / "anonymize").rglob("*.py")), ids=NAMES.get)
def test_rooms_of_anonymize_know_those_below(path: Path) -> None:
    relative = path.relative_to(PACKAGE / "anonymize")
    room = relative.parts[0].removesuffix(".py")
    if room not in ROOMS:
        return  # the stages and the command stand above all rooms
    used = {name.split(".")[2] for name in imports(path) if name.startswith("raymaskdp.anonymize.")}
    assert used <= ROOMS[room] | {room, "item"}


def test_no_import_goes_in_a_circle() -> None:
    needs = {
        module: {name for name in imports(path) if name in DOTTED and name != module}
        for module, path in DOTTED.items()
        if path.name != "__init__.py"  # a package is imported for the names of its modules
    }
    for module, names in needs.items():
        needs[module] = names & needs.keys()
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


@pytest.mark.parametrize("path", MODULES, ids=NAMES.get)
def test_libraries_are_known_where_they_may_be(path: Path) -> None:
    for library, files in KNOWS.items():
        if NAMES[path] not in files:
            known = {name for name in imports(path) if name == library or name.startswith(f"{library}.")}
            assert not known, f"{NAMES[path]} imports {known}"


def test_modules_are_short() -> None:
    long = {NAMES[path] for path in MODULES if len(path.read_text().splitlines()) > MOST_LINES}
    assert not long


def test_functions_are_short() -> None:
    long = {
        f"{NAMES[path]}: {function.name}": lines
        for path in MODULES
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := lines_of(function)) > MOST_LINES_OF_A_FUNCTION
    }
    assert not long


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """How many lines a function has without its docstring; with its head, without its decorators."""
    assert function.end_lineno is not None
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        first = function.body[0]
        assert first.end_lineno is not None
        lines -= first.end_lineno - first.lineno + 1
    return lines


def test_lines_of_a_function_are_those_of_its_code() -> None:
    (function,) = ast.parse('@cache\ndef f():\n    """One.\n\n    Two.\n    """\n    return 1\n').body
    assert isinstance(function, ast.FunctionDef)
    assert lines_of(function) == 2


def test_folders_hold_few_modules() -> None:
    count = Counter(path.parent for path in MODULES if path.name != "__init__.py")
    full = {str(folder.relative_to(PACKAGE)): many for folder, many in count.items() if many > MOST_MODULES}
    assert not full


def test_a_class_has_a_name_of_its_own() -> None:
    homes: dict[str, list[str]] = defaultdict(list)
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(NAMES[path])
    shared = {name: files for name, files in homes.items() if len(files) > 1}
    assert not shared


def test_the_rules_see_imports(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("def f():\n    from ray import data\n    import raymaskdp.train.loop\n")
    assert set(imports(tmp_path / "x.py")) == {"ray", "ray.data", "raymaskdp.train.loop"}
