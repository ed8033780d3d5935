"""Toyota Smarthome (Das et al. 2019), trimmed: 31 actions, 18 seniors, 7 cameras in one apartment.

mp4/Cook.Cleandishes_p02_r00_v02_c03.mp4          action, person, repetition, …, camera
skeleton*/Cook.Cleandishes_p02_r00_v02_c03*.json  if unpacked
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.datasets.official import DatasetSource, Problems, files_below

NAME = re.compile(r"([A-Za-z.]+)_p(\d+)_r(\d+)_v(\d+)_c(\d+)")
VIDEOS = 16_115
TRAIN_SUBJECTS = {3, 4, 6, 7, 9, 12, 13, 15, 17, 19, 25}
TEST_SUBJECTS = {2, 10, 11, 14, 16, 18, 20}
TRAIN_CAMERAS = {"cross-view-1": {1}, "cross-view-2": {1, 3, 4, 6, 7}}
VAL_CAMERA, TEST_CAMERA = 5, 2
CROSS_VIEW_ACTIONS = {
    "Cutbread", "Drink.Frombottle", "Drink.Fromcan", "Drink.Fromcup", "Drink.Fromglass", "Eat.Attable",
    "Eat.Snack", "Enter", "Getup", "Leave", "Pour.Frombottle", "Pour.Fromcan", "Readbook", "Sitdown",
    "Takepills", "Uselaptop", "Usetablet", "Usetelephone", "Walk",
}  # fmt: skip
"""The actions in the views of cameras 1, 2 and 5."""
ACTIONS = CROSS_VIEW_ACTIONS | {
    "Cook.Cleandishes", "Cook.Cleanup", "Cook.Cut", "Cook.Stir", "Cook.Usestove", "Laydown",
    "Makecoffee.Pourgrains", "Makecoffee.Pourwater", "Maketea.Boilwater", "Maketea.Insertteabag",
    "Pour.Fromkettle", "WatchTV",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SmarthomeOptions:
    """protocol: disjoint property of training and test videos; cross-view has 19 of the actions."""

    protocol: Literal["cross-subject", "cross-view-1", "cross-view-2"] = "cross-subject"


def read(source: DatasetSource, problems: Problems) -> Iterator[VideoRecord]:
    """The videos of the protocol, with their skeletons if these are unpacked."""
    videos, protocol = source.folder("mp4"), source.options.protocol
    skeletons = _skeletons(source.root, problems)
    count = 0
    seen = set()
    for file in files_below(videos, problems):
        found = NAME.match(file.rpartition("/")[2])
        if not found:
            problems.add("file that is not named ACTION_p…_r…_v…_c…", file)
            continue
        action, (subject, repetition, _, camera) = found[1], (int(part) for part in found.groups()[1:])
        count += 1
        if action not in ACTIONS:
            problems.add("unknown action", file)
            continue
        if subject not in TRAIN_SUBJECTS | TEST_SUBJECTS:
            problems.add("person that is in no protocol", file)
            continue
        seen.add(action)
        split = _split(protocol, action, subject, camera)
        if split is None:
            continue
        if skeletons and found[0] not in skeletons:
            problems.add("missing skeleton", file)
        yield VideoRecord(
            video_id=Path(file).stem,
            path=str(videos / file),
            label=action,
            split=split,
            subject=f"p{subject:02d}",
            camera=f"c{camera:02d}",
            replication=f"r{repetition:02d}",
            skeleton=skeletons.get(found[0]),
        )
    problems.expect("videos", VIDEOS, count)
    problems.expect("actions", len(ACTIONS), len(seen))


def _split(protocol: str, action: str, subject: int, camera: int) -> str | None:
    if protocol == "cross-subject":
        return "train" if subject in TRAIN_SUBJECTS else "test"
    if action not in CROSS_VIEW_ACTIONS:
        return None
    if camera in TRAIN_CAMERAS[protocol]:
        return "train"
    return {VAL_CAMERA: "val", TEST_CAMERA: "test"}.get(camera)


def _skeletons(root: Path, problems: Problems) -> dict[str, str]:
    """Skeleton files by the name of their video."""
    found: dict[str, str] = {}
    for folder in sorted(root.glob("skeleton*")):
        for file in files_below(folder, problems, {".json"}):
            name = NAME.match(file.rpartition("/")[2])
            if name:
                found.setdefault(name[0], str(folder / file))
    return found
