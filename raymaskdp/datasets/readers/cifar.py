"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009), the binary version, whose images become PNG files.

    cifar-10-batches-bin/{data_batch_1.bin, …, data_batch_5.bin, test_batch.bin, batches.meta.txt}
    cifar-100-binary/{train.bin, test.bin, fine_label_names.txt}

The Python version consists of pickles, which can execute code when they are read; it is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.datasets.official import DatasetSource, Problems
from raymaskdp.errors import UserError
from raymaskdp.files import atomic_path

SIDE = 32
PIXELS = 3 * SIDE * SIDE


@dataclass(frozen=True, kw_only=True)
class CifarOptions:
    """No options."""


@dataclass(frozen=True, kw_only=True)
class Version:
    """One of the two datasets: its files, and the byte before the pixels that is the class."""

    folder: str
    pickled: str
    names: str
    files: dict[str, str]
    label_bytes: int
    counts: dict[str, int]


CIFAR10 = Version(
    folder="cifar-10-batches-bin",
    pickled="cifar-10-batches-py",
    names="batches.meta.txt",
    files={**{f"data_batch_{number}.bin": "train" for number in range(1, 6)}, "test_batch.bin": "test"},
    label_bytes=1,
    counts={"train": 50_000, "test": 10_000},
)
CIFAR100 = Version(
    folder="cifar-100-binary",
    pickled="cifar-100-python",
    names="fine_label_names.txt",
    files={"train.bin": "train", "test.bin": "test"},
    label_bytes=2,  # the superclass, then the class
    counts={"train": 50_000, "test": 10_000},
)


def read(version: Version, source: DatasetSource, problems: Problems) -> Iterator[VideoRecord]:
    """The images, written to `source.unpacked` if they are missing there."""
    if not (source.root / version.folder).is_dir() and (source.root / version.pickled).is_dir():
        raise UserError(
            f"{source.root / version.pickled} is the Python version, whose pickles can execute code; "
            f"download the binary version, which unpacks to {version.folder}."
        )
    folder = source.folder(version.folder)
    names = source.lines(folder / version.names)
    counts = dict.fromkeys(version.counts, 0)
    for file, split in version.files.items():
        if not (folder / file).is_file():
            problems.add("missing file", file)
            continue
        data = np.fromfile(folder / file, dtype=np.uint8)
        if data.size == 0 or data.size % (version.label_bytes + PIXELS):
            raise UserError(
                f"{folder / file} is damaged: {data.size} bytes are not a whole number of images."
            )
        rows = data.reshape(-1, version.label_bytes + PIXELS)
        for number, row in enumerate(rows):
            label = int(row[version.label_bytes - 1])
            name = f"{Path(file).stem}-{number:05d}"
            if label >= len(names):
                problems.add(f"class that {version.names} does not have", f"{name}: {label}")
                continue
            counts[split] += 1
            path = source.unpacked / split / f"{name}.png"
            if not path.is_file():
                _write_png(path, row[version.label_bytes :].reshape(3, SIDE, SIDE))
            yield VideoRecord(video_id=name, path=str(path), label=names[label], split=split)
    for split, expected in version.counts.items():
        problems.expect(f"{split} pictures", expected, counts[split])


read10, read100 = partial(read, CIFAR10), partial(read, CIFAR100)


def _write_png(path: Path, rgb_CHW: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded, data = cv2.imencode(".png", np.ascontiguousarray(rgb_CHW[::-1].transpose(1, 2, 0)))
    assert encoded
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.tobytes())
