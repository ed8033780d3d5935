"""HMDB-51 (Kuehne et al. 2011): 51 actions, three official splits, 70 and 30 videos a class.

hmdb51_org/brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi
testTrainMulti_7030_splits/brush_hair_test_split1.txt      lines "VIDEO 0|1|2": unused, training, test
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from raymaskdp.datasets.ids import identifier
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.datasets.official import DatasetSource, Problems, files_below
from raymaskdp.errors import UserError

CLASSES = 51
A_CLASS = {"train": 70, "test": 30}
SPLITS = {"0": None, "1": "train", "2": "test"}


@dataclass(frozen=True, kw_only=True)
class Hmdb51Options:
    """split: which official split, 1 to 3."""

    split: Literal[1, 2, 3] = 1


def read(source: DatasetSource, problems: Problems) -> Iterator[VideoRecord]:
    """The videos of one official split, without unused ones."""
    videos, lists = source.folder("hmdb51_org"), source.folder("testTrainMulti_7030_splits")
    ending = f"_test_split{source.options.split}.txt"
    labels = sorted(path.name.removesuffix(ending) for path in lists.glob(f"*{ending}"))
    if not labels:
        raise UserError(f"{lists} has no list *{ending}; unpack the official split files there.")
    problems.expect("classes", CLASSES, len(labels))
    there = set(files_below(videos, problems))
    for name in sorted(there):
        if name.partition("/")[0] not in labels:
            problems.add("class without a list", name)
    for label in labels:
        listed: Counter[str | None] = Counter()
        seen: set[str] = set()
        for line in source.lines(lists / f"{label}{ending}"):
            found = re.fullmatch(r"(\S.*?)\s+([012])", line)
            if not found:
                raise UserError(f"The line {line!r} of {lists / (label + ending)} is not 'VIDEO 0|1|2'.")
            name, split = f"{label}/{found[1]}", SPLITS[found[2]]
            if name in seen:
                problems.add("video listed twice", name)
                continue
            seen.add(name)
            listed[split] += 1
            if name not in there:
                problems.add("missing video", name)
            elif split is not None:
                yield VideoRecord(
                    video_id=identifier(Path(name)), path=str(videos / name), label=label, split=split
                )
        for name in sorted(there - seen):
            if name.startswith(f"{label}/"):
                problems.add("video in no list", name)
        for split, expected in A_CLASS.items():
            problems.expect(f"{split} videos of {label}", expected, listed[split])
