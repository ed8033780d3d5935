"""What decides how the sums of a step are rounded: a step that is redone under the same comes out the same.

A step's lot and noise follow from the key. Were it redone with other rounding under the same noise, the
difference of the two releases would have no noise in it. So the ledger holds what matters, and a redone
step under other circumstances gets other noise, and is counted again.
"""

from __future__ import annotations

import importlib.metadata
import platform
import uuid
from pathlib import Path

import numpy as np
import torch

from raymaskdp.train.config import ComputeConfig


def circumstances(compute: ComputeConfig, *, world_size: int, device: torch.device) -> dict[str, str]:
    """Names and values, all public. No two are equal where sums of a device differ from time to time."""
    found = {
        "raymaskdp": importlib.metadata.version("raymaskdp"),
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
    if device.type == "cuda":
        found["session"] = uuid.uuid4().hex  # kernels of a GPU add up in whatever order they come
    return found


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
