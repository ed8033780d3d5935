"""The device on which a worker's networks run."""

from __future__ import annotations

import torch

from raymaskdp.errors import UserError


def device_for(gpus: float) -> torch.device:
    """The device of a worker that holds this share of a GPU. Its GPU memory is limited to the same share.

    Raises `UserError` if it holds a share and torch finds no GPU, because a run on the CPU could take days.
    """
    if gpus <= 0:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UserError(
            f"The worker was given gpus={gpus:g}, but torch {torch.__version__} finds no GPU on its machine; "
            "check its driver with `raymaskdp doctor`, or set gpus=0 to compute on the CPU."
        )
    if gpus < 1:
        torch.cuda.set_per_process_memory_fraction(gpus)
    return torch.device("cuda")
