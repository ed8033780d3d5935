"""What help, defaults and schemas load: settings alone, because torch, Ray and OpenCV take seconds."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {
    "torch", "ray", "cv2", "mediapipe", "onnxruntime", "diffusers", "transformers", "pandas", "pyarrow",
    "numpy", "scipy", "av",
}  # fmt: skip

READ = """
import contextlib, io, json, sys
import click
from raymaskdp.cli.program import cli, main

def commands(command, words):
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from commands(inner, [*words, name])
    else:
        yield words, hasattr(command.callback, "settings")

loaded = {}
for words, has_settings in [([], False), *commands(cli, [])]:
    for option in ["--help", *(["--defaults", "--schema"] if has_settings else [])]:
        before = set(sys.modules)
        with contextlib.redirect_stdout(io.StringIO()) as out:
            assert main([*words, option]) == 0 and out.getvalue()
        loaded[" ".join([*words, option])] = sorted(set(sys.modules) - before)
print(json.dumps(loaded))
"""


@pytest.fixture(scope="module")
def loaded() -> dict[str, list[str]]:
    """The modules that each command's help and settings load, in this order, in one process."""
    ran = subprocess.run([sys.executable, "-c", READ], capture_output=True, text=True, check=True)
    return json.loads(ran.stdout.splitlines()[-1])


def test_help_and_settings_load_no_heavy_library(loaded: dict[str, list[str]]) -> None:
    assert {"train --help", "benchmark refine-cost --schema", "submit sweep --defaults"} <= loaded.keys()
    for words, modules in loaded.items():
        assert not HEAVY & {name.partition(".")[0] for name in modules}, words


@pytest.mark.parametrize("package", ["anonymize", "audit", "models", "privacy", "sweep", "train"])
def test_a_package_imports_its_names_on_use(package: str) -> None:
    import importlib

    module = importlib.import_module(f"raymaskdp.{package}")
    assert all(getattr(module, name) is not None for name in module.__all__)
    assert not hasattr(module, "no_such_name")


def test_settings_name_every_sample_action() -> None:
    """Settings do not import the table of actions, which needs scipy."""
    import typing

    from raymaskdp.synthetic.config import ActionName
    from raymaskdp.synthetic.perform import PERFORMED

    assert typing.get_args(ActionName) == tuple(PERFORMED)
