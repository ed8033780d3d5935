"""Memory of activations is given back to the system when they are freed.

The C library's allocator learns to keep blocks of up to 32 MiB on its heap. During the backward pass of a
clipped sum, free blocks then lie between blocks in use and stay resident. How many there are varies from run
to run (docs/measurements.md). The setting stays for the rest of the process.
"""

from __future__ import annotations

import ctypes
import sys

LARGE = 24 << 20
"""Blocks of at least this many bytes get pages of their own, which are given back when the block is freed.
The system clears pages before each use: with 8 MiB, MaskDP's step takes 1.4 times as long."""

KEPT = 256 << 20
"""Free bytes at the end of the heap that are kept for the next step."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h


def give_back_large_blocks() -> None:
    """Set this process's allocator so, if it is glibc's; others have no such setting."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, LARGE)
        mallopt(_TRIM_THRESHOLD, KEPT)
