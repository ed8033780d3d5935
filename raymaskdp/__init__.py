"""Anonymize videos of people, and train on them with masked differential privacy, on Ray.

Each command is a function of the same name that takes a frozen configuration and returns a frozen result:

    from raymaskdp.anonymize import anonymize
    from raymaskdp.train import prepare, train, evaluate
    from raymaskdp.sweep import sweep
    from raymaskdp.report import report
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

__version__ = version("raymaskdp")


def imported_on_use(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """A package's `__getattr__` that imports its public names when they are used.

    So the settings of a command can be imported without torch, Ray and OpenCV, which take seconds.

    Args:
      package: its `__name__`.
      homes: the module of each name, within the package.
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)

    return get
