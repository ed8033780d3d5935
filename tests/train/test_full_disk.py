"""A disk that fills while clips are stored is no fault of a video: `prepare` stops, and makes no store."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from support.disks import disk
from support.samples import write_anonymized

from raymaskdp.errors import MachineError
from raymaskdp.train import ClipStore, PrepareConfig, prepare
from raymaskdp.train.data.store_files import write_array

SIZE = PrepareConfig(width=128, height=96, token=2)


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=[pytest.mark.cluster, pytest.mark.slow])])
@pytest.mark.parametrize("size", ["64k", "1500k"], ids=["room for none", "room for some"])
def test_a_full_disk_stops_it_and_leaves_no_store(size: str, workers: int, tmp_path: Path) -> None:
    anonymized = write_anonymized(tmp_path / "anonymized", train=4, test=2)
    with disk(tmp_path / "small", size) as small:
        out = small / "clips"
        with pytest.raises(MachineError, match=r"no room left|No space left") as said:
            prepare(anonymized, out, SIZE, workers=workers)
        assert "\n" not in str(said.value)
        assert not (out / "store.json").exists()
        shutil.rmtree(out)
    result = prepare(anonymized, tmp_path / "large", SIZE, workers=workers)
    assert (result.videos, result.failed) == (6, {})
    assert len(ClipStore.open(tmp_path / "large").videos) == 6


@pytest.mark.parametrize("shape", [(3, 4, 5, 3), (0, 2), (7,)])
def test_arrays_are_what_numpy_writes(shape: tuple[int, ...], tmp_path: Path) -> None:
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    write_array(tmp_path / "a.npy", array)
    np.save(tmp_path / "b.npy", array)
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
