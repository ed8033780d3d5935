"""What decides how the sums of a step come out: a step that is redone under the same comes out the same.

A step's lot and noise follow from the key. Were it redone with another sum under the same noise, even one
that is only rounded otherwise, the difference of the two releases would have no noise in it. So the ledger
holds what matters, and a redone step under other circumstances gets other noise, and is counted again.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import os
import platform
import sys
import uuid
from pathlib import Path

import numpy as np
import torch

from raymaskdp.models.registry import MODELS
from raymaskdp.privacy.ledger import sync_folder
from raymaskdp.train.config import TrainConfig


def circumstances(
    config: TrainConfig, *, world_size: int, device: torch.device, unread_mark: Path
) -> dict[str, str]:
    """Names and values, all public. No two are equal where a step may differ from time to time.

    That is so on a GPU, where a clip could not be read once and may be readable now (`unread_mark`), and
    where nothing tells whether the model's code has changed.
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
    """Make an empty file, which is on the disk when this returns; one that is there stays."""
    if not mark.exists():
        mark.parent.mkdir(exist_ok=True)
        with open(mark, "wb") as opened:
            os.fsync(opened.fileno())
        sync_folder(mark.parent)


def remove_mark(mark: Path) -> None:
    """Remove such a file, if it is there, for good when this returns."""
    if mark.exists():
        mark.unlink()
        sync_folder(mark.parent)


@functools.cache
def code_of(model: str) -> str | None:
    """Digest of the code that makes a step: of this package, and of the one that brings the model.

    A model that is changed without a new version makes other sums under the same noise. None where the
    model is of no file, as in a session of Python.
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
    """The file of a module that is loaded; None if it has none."""
    file = getattr(sys.modules.get(module), "__file__", None)
    return None if file is None else Path(file)


def machine() -> str:
    """What of this machine decides how libraries round: the instructions that it has, and its processor."""
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()} {_processor()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def seed_model(seed: int) -> None:
    """Make what a model draws by itself, dropout for instance, a function of the seed."""
    torch.manual_seed(seed)
