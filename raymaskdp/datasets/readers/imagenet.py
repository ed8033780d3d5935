"""ImageNet-1k (Russakovsky et al. 2015): 1000 classes, named by their WordNet ids.

    train/n01440764/n01440764_10026.JPEG
    val/n01440764/ILSVRC2012_val_00000293.JPEG       by class, or all in one folder with a list beside:
    LOC_val_solution.csv                             rows "ILSVRC2012_val_00000001,n01751748 x y x y …"

Either directly, or in `ILSVRC/Data/CLS-LOC`, as Kaggle's archive unpacks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from raymaskdp.datasets.ids import identifier
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.datasets.official import DatasetSource, Problems, files_below
from raymaskdp.errors import UserError

CLASSES = 1000
COUNTS = {"train": 1_281_167, "val": 50_000}
SOLUTION = "LOC_val_solution.csv"


@dataclass(frozen=True, kw_only=True)
class ImagenetOptions:
    """No options."""


def read(source: DatasetSource, problems: Problems) -> Iterator[VideoRecord]:
    """The images of training and validation; labels of the test images are not public."""
    nested = source.root / "ILSVRC" / "Data" / "CLS-LOC"
    root = nested if nested.is_dir() else source.root
    labels: set[str] = set()
    for split, expected in COUNTS.items():
        folder = root / split
        if not folder.is_dir():
            raise UserError(f"{root} has no folder {split!r}; unpack the archives of {split} pictures there.")
        solution = _solution(source) if split == "val" else {}
        count = 0
        for name in files_below(folder, problems):
            label, slash, _ = name.partition("/")
            if not slash:
                label = solution.get(Path(name).stem, "")
            if not label:
                problems.add(
                    f"picture without a class, in no folder and not in {SOLUTION}", f"{split}/{name}"
                )
                continue
            if split == "train":
                labels.add(label)
            elif label not in labels:
                problems.add("class without a training picture", f"{split}/{name}: {label}")
            count += 1
            yield VideoRecord(
                video_id=identifier(Path(split) / Path(name).name),
                path=str(folder / name),
                label=label,
                split=split,
            )
        problems.expect(f"{split} pictures", expected, count)
    problems.expect("classes", CLASSES, len(labels))


def _solution(source: DatasetSource) -> dict[str, str]:
    path = source.root / SOLUTION
    if not path.is_file():
        return {}
    pairs = [line.partition(",") for line in source.lines(path)[1:]]
    return {name: boxes.split()[0] for name, _, boxes in pairs if boxes.split()}
