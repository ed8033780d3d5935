"""Circumstances that affect a step's sums: a step repeated under equal ones has the same result.

A step's lot and noise follow from the key. If it were repeated with another sum and the same noise, even one
that is only rounded differently, the difference of the two releases would have no noise. So the ledger
records them, and a step repeated under other circumstances gets other noise, and is counted again.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import sys
import uuid
from pathlib import Path

import numpy as np
import torch

from raymaskdp.models.registry import MODELS
from raymaskdp.privacy.ledger import sync_folder
from raymaskdp.privacy.per_record.record_independence import seed_generators
from raymaskdp.train.config import TrainConfig

LIBRARIES = ("ATEN_", "DNNL_", "KMP_", "MKL_", "OMP_", "ONEDNN_", "OPENBLAS_")
"""Beginnings of the names of environment variables that affect rounding."""


def circumstances(
    config: TrainConfig, *, world_size: int, device: torch.device, unread_mark: Path
) -> dict[str, str]:
    """Names and values, all public. They are never equal if a step may have varying results.

    This is so on a GPU, if a clip could not be read once and may be readable now (`unread_mark`), and
    if changes of the model's code cannot be detected.
    """
    compute = config.compute
    code = code_of(config.model.name)
    found = {
        "raymaskdp": importlib.metadata.version("raymaskdp"),
        "code": code or "unknown",
        "torch": torch.__version__,
        "numpy": np.__version__,
        "transformers": _version("transformers"),
        "machine": machine(),
        "libraries": libraries(),
        "device": device.type,
        "workers": str(world_size),
        "threads": str(compute.threads),
        "micro_batch": str(compute.micro_batch),
        "noise": "whole numbers",
        "checkpoint_activations": str(compute.checkpoint_activations),
        "cache_features": str(compute.cache_features),
    }
    # Kernels of a GPU add up in whatever order they come.
    if device.type == "cuda" or unread_mark.exists() or code is None:
        found["session"] = uuid.uuid4().hex
    return found


def leave_mark(mark: Path) -> None:
    """Make an empty file, which is on the disk when this returns; an existing one is kept."""
    if not mark.exists():
        mark.parent.mkdir(exist_ok=True)
        with open(mark, "wb") as opened:
            os.fsync(opened.fileno())
        sync_folder(mark.parent)


def remove_mark(mark: Path) -> None:
    """Remove such a file if it exists; the removal is on the disk when this returns."""
    if mark.exists():
        mark.unlink()
        sync_folder(mark.parent)


@functools.cache
def code_of(model: str) -> str | None:
    """Digest of the code of a step: of this package, and of the model's package.

    A model that is changed without a new version gives other sums under the same noise. None if the
    model has no file, as in an interactive session.
    """
    digest = hashlib.sha256()
    brings = MODELS[model].build.__module__
    top = brings.partition(".")[0]
    for name in sorted({"raymaskdp", top if _file(top) else brings}):
        file = _file(name)
        if file is None:
            return None
        for source in sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]:
            digest.update(source.relative_to(file.parent).as_posix().encode() + b"\0")
            digest.update(hashlib.sha256(source.read_bytes()).digest())
    return digest.hexdigest()


def _file(module: str) -> Path | None:
    """The file of a loaded module; None if it has none."""
    file = getattr(sys.modules.get(module), "__file__", None)
    return None if file is None else Path(file)


def machine() -> str:
    """Properties of this machine that affect rounding: its instruction set, and its processor."""
    flags = " ".join(sorted(_cpuinfo("flags", "").split()))
    digest = hashlib.sha256(flags.encode()).hexdigest()[:16]
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()} {_processor()} {digest}"


def libraries() -> str:
    """Digest of the variables by which libraries choose instructions, threads and the order of sums."""
    chosen = sorted((name, value) for name, value in os.environ.items() if name.startswith(LIBRARIES))
    return hashlib.sha256(json.dumps(chosen).encode()).hexdigest()[:16]


def _processor() -> str:
    return _cpuinfo("model name", platform.processor())


def _cpuinfo(name: str, missing: str) -> str:
    """The first value of a name in Linux's description of its processors."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return missing
    found = (line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == name)
    return next(found, missing)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def seed_model(seed: int) -> None:
    """Make a model's own random numbers, such as dropout, a function of the seed."""
    seed_generators(seed)
