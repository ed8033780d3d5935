"""Where a worker's networks compute."""

from __future__ import annotations

import torch

from raymaskdp.errors import UserError


def device_for(gpus: float) -> torch.device:
    """Where a worker that holds this share of a GPU computes; its memory is bounded by the same share.

    Raises `UserError` where it was given a share and torch finds no GPU: a CPU would take days in silence.
    """
    if gpus <= 0:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UserError(
            f"The worker was given gpus={gpus:g}, but torch {torch.__version__} finds no GPU on its machine; "
            "look at its driver with `raymaskdp doctor`, or set gpus=0 to compute on the CPU."
        )
    if gpus < 1:
        torch.cuda.set_per_process_memory_fraction(gpus)
    return torch.device("cuda")
