"""The device of a process."""

from __future__ import annotations

import torch

from raymaskdp.errors import UserError

CPU = torch.device("cpu")


def device_here(gpus: float) -> torch.device:
    """The first visible GPU, if this process has a share `gpus` > 0 of one; else the CPU.

    The memory of a shared GPU is limited to the share. Raises `UserError` if a GPU is requested and
    there is none.
    """
    if not gpus:
        return CPU
    if not torch.cuda.is_available():
        raise UserError(
            f"compute.gpus is {gpus:g}, but torch sees no GPU here; set it to 0 (for a sweep, gpus=0), or "
            "install a build of torch for this machine's GPU."
        )
    if gpus < 1:
        torch.cuda.set_per_process_memory_fraction(gpus)
    return torch.device("cuda", 0)
