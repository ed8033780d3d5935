"""Freed activations leave the process, although small blocks lie between them."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import sys
import numpy as np
from raymaskdp.benchmarks.paired import resident_bytes
from raymaskdp.train.loop import _set_up_torch
from raymaskdp.train.run.heap import give_back_large_blocks

if sys.argv[1] == "given back":
    give_back_large_blocks()
elif sys.argv[1] == "training":
    _set_up_torch(threads=1)
for _ in range(3):  # by which the allocator learns
    block = np.ones(30 << 20, np.uint8)
    del block
before = resident_bytes()
large, small = [], []
for _ in range(8):
    large.append(np.ones(28 << 20, np.uint8))
    small.append(np.ones(50 << 10, np.uint8))
large.clear()
print((resident_bytes() - before) >> 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators have no such setting")
def test_freed_large_blocks_leave_the_process() -> None:
    held = {
        kind: int(subprocess.check_output([sys.executable, "-c", PROGRAM, kind], text=True))
        for kind in ("given back", "training", "kept")
    }
    assert held["given back"] < 20, "of 224 MiB that were freed"
    assert held["training"] < 20, "a run's worker sets it"
    assert held["kept"] > 100, "the control: without the setting the memory stays"
