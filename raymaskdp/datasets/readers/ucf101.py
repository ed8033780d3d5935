"""UCF-101 (Soomro, Zamir and Shah 2012): 101 actions, three official splits.

    UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi
    ucfTrainTestlist/{classInd.txt, trainlist01.txt, testlist01.txt, …}

The 4 to 7 videos of one group of one action show the same person and place, so a group is the subject.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from raymaskdp.datasets.ids import identifier
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.datasets.official import DatasetSource, Problems, files_below
from raymaskdp.errors import UserError

CLASSES = 101
COUNTS = {1: (9537, 3783), 2: (9586, 3734), 3: (9624, 3696)}
"""Videos of each split's training and test list."""


@dataclass(frozen=True, kw_only=True)
class Ucf101Options:
    """split: which official split, 1 to 3."""

    split: Literal[1, 2, 3] = 1


def read(source: DatasetSource, problems: Problems) -> Iterator[VideoRecord]:
    """The videos of one official split."""
    videos, lists = source.folder("UCF-101"), source.folder("ucfTrainTestlist")
    number_of = _classes(source, lists / "classInd.txt")
    problems.expect("classes", CLASSES, len(number_of))
    number = source.options.split
    listed: dict[str, str] = {}
    groups: dict[str, str] = {}
    for split, expected in zip(("train", "test"), COUNTS[number], strict=True):
        lines = source.lines(lists / f"{split}list0{number}.txt")
        problems.expect(f"videos in {split}list0{number}.txt", expected, len(lines))
        for line in lines:
            name, _, said = line.partition(" ")
            label = name.partition("/")[0]
            if label not in number_of:
                problems.add("class that is not in classInd.txt", name)
            elif said and number_of[label] != said.strip():
                problems.add("class number other than in classInd.txt", line)
            elif name in listed:
                problems.add("video listed twice", name)
            else:
                listed[name] = split
                if groups.setdefault(_group(name), split) != split:
                    problems.add("group of videos in both training and test", _group(name))
    there = set(files_below(videos, problems))
    for name in sorted(there - listed.keys()):
        problems.add("video in neither list", name)
    for name, split in listed.items():
        if name not in there:
            problems.add("missing video", name)
            continue
        yield VideoRecord(
            video_id=identifier(Path(Path(name).name)),
            path=str(videos / name),
            label=name.partition("/")[0],
            split=split,
            subject=_group(name),
        )


def _classes(source: DatasetSource, path: Path) -> dict[str, str]:
    """The number of each class, as written."""
    pairs = [line.split() for line in source.lines(path)]
    if any(len(pair) != 2 for pair in pairs):
        raise UserError(f"{path} must have a number and a class on every line.")
    return {label: number for number, label in pairs}


def _group(name: str) -> str:
    """`ApplyEyeMakeup-g08` of `ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi`."""
    label, _, file = name.partition("/")
    found = re.search(r"_(g\d+)_c\d+\.", file)
    return f"{label}-{found[1]}" if found else name
