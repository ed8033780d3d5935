"""A folder for each class, of videos or images.

train/waving/a.mp4, test/waving/b.mp4       folders train, val and test divide the data
waving/a.mp4                                without these, `test_share` of each class is the test
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from raymaskdp import check
from raymaskdp.datasets.ids import stable_id
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.datasets.official import DatasetSource, Problems, files_below
from raymaskdp.errors import UserError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class FoldersOptions:
    """test_share: of each class, if no folders divide the data; the files are selected by their names."""

    test_share: float = 0.2

    def __post_init__(self) -> None:
        check.in_range("test_share", self.test_share, low=0, high=1, open_high=True)


def read(source: DatasetSource, problems: Problems) -> Iterator[VideoRecord]:
    """Every file below a class's folder."""
    splits = [split for split in SPLITS if (source.root / split).is_dir()]
    if splits:
        named = {
            f"{split}/{name}": (name, split)
            for split in splits
            for name in files_below(source.root / split, problems)
        }
    else:
        names = list(files_below(source.root, problems))
        tested = _tested(names, source.options.test_share)
        named = {name: (name, "test" if name in tested else "train") for name in names}
    if not named:
        said = "".join(f"; {problem}" for problem in problems.listed())
        raise UserError(f"{source.root} has no video and no image{said}.")
    labels = defaultdict(set)
    for place, (name, split) in named.items():
        label, slash, _ = name.partition("/")
        if not slash:
            problems.add("file outside the folder of a class", place)
            continue
        labels[split].add(label)
        yield VideoRecord(
            video_id=stable_id(Path(place)), path=str(source.root / place), label=label, split=split
        )
    for split in ("val", "test"):
        for label in sorted(labels[split] - labels["train"]):
            problems.add("class without a training video", f"{split}/{label}")


def _tested(names: list[str], share: float) -> set[str]:
    """The files of each class whose names have the smallest digests."""
    by_class = defaultdict(list)
    for name in names:
        by_class[name.partition("/")[0]].append(name)
    tested: set[str] = set()
    for members in by_class.values():
        members.sort(key=lambda name: hashlib.sha256(os.fsencode(name)).digest())
        tested.update(members[: round(len(members) * share)])
    return tested
