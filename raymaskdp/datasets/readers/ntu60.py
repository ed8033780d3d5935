"""NTU RGB+D 60 (Shahroudy et al. 2016): 60 actions, 40 subjects, 3 cameras at 17 setups.

    nturgb+d_rgb/S001C001P001R001A001_rgb.avi
    nturgb+d_skeletons/S001C001P001R001A001.skeleton               if unpacked
    NTU_RGBD_samples_with_missing_skeletons.txt                    optional: no skeleton is expected for them

Setup, camera, performer, replication and action are in the name. Actions A050 to A060 have two people, of
whom the name has one: for them, protecting all videos of a subject does not protect the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.datasets.official import DatasetSource, Problems, files_below

NAME = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})")
SETUPS, CAMERAS, SUBJECTS, REPLICATIONS = 17, 3, 40, 2
VIDEOS = 56_880
COUNTS = {"cross-subject": (40_320, 16_560), "cross-view": (37_920, 18_960)}
TRAIN_SUBJECTS = {1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38}
TRAIN_CAMERAS = {2, 3}
WITHOUT_SKELETON = ("NTU_RGBD_samples_with_missing_skeletons.txt", "samples_with_missing_skeletons.txt")
ACTIONS = (
    "drink water", "eat meal", "brush teeth", "brush hair", "drop", "pick up", "throw", "sit down",
    "stand up", "clapping", "reading", "writing", "tear up paper", "put on jacket", "take off jacket",
    "put on a shoe", "take off a shoe", "put on glasses", "take off glasses", "put on a hat",
    "take off a hat", "cheer up", "hand waving", "kicking something", "reach into pocket", "hopping",
    "jump up", "phone call", "play with phone", "type on a keyboard", "point to something",
    "taking a selfie", "check time", "rub two hands", "nod head", "shake head", "wipe face", "salute",
    "put palms together", "cross hands in front", "sneeze or cough", "staggering", "falling down",
    "headache", "chest pain", "back pain", "neck pain", "nausea", "fan self", "punch or slap", "kicking",
    "pushing", "pat on back", "point finger", "hugging", "giving object", "touch pocket", "shaking hands",
    "walking towards", "walking apart",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Ntu60Options:
    """protocol: disjoint property of training and test videos, subjects or cameras."""

    protocol: Literal["cross-subject", "cross-view"] = "cross-subject"


def read(source: DatasetSource, problems: Problems) -> Iterator[VideoRecord]:
    """The videos, split by the protocol, with their skeletons if these are unpacked."""
    videos = source.folder("nturgb+d_rgb")
    skeletons = source.root / "nturgb+d_skeletons"
    expected = skeletons.is_dir()
    excused = _without_skeleton(source)
    seen = {"train": 0, "test": 0}
    names = set()
    for file in files_below(videos, problems):
        found = NAME.match(file.rpartition("/")[2])
        if not found:
            problems.add("file that is not named S…C…P…R…A…", file)
            continue
        name = found[0]
        setup, camera, subject, replication, action = (int(part) for part in found.groups())
        bounds = zip(
            (setup, camera, subject, replication, action),
            (SETUPS, CAMERAS, SUBJECTS, REPLICATIONS, len(ACTIONS)),
            strict=True,
        )
        if not all(1 <= number <= most for number, most in bounds):
            problems.add("file that is not of NTU RGB+D 60, but possibly of 120", file)
            continue
        if name in names:
            problems.add("duplicate video", file)
            continue
        names.add(name)
        by_subject = source.options.protocol == "cross-subject"
        train = subject in TRAIN_SUBJECTS if by_subject else camera in TRAIN_CAMERAS
        split = "train" if train else "test"
        seen[split] += 1
        skeleton = skeletons / f"{name}.skeleton"
        has_skeleton = expected and name not in excused and skeleton.is_file()
        if expected and not has_skeleton and name not in excused:
            problems.add("missing skeleton", skeleton.name)
        yield VideoRecord(
            video_id=name,
            path=str(videos / file),
            label=f"A{action:03d} {ACTIONS[action - 1]}",
            split=split,
            subject=f"P{subject:03d}",
            camera=f"S{setup:03d}C{camera:03d}",  # cameras were moved from setup to setup
            setup=f"S{setup:03d}",
            replication=f"R{replication:03d}",
            skeleton=str(skeleton) if has_skeleton else None,
        )
    problems.expect("videos", VIDEOS, sum(seen.values()))
    for split, count in zip(seen, COUNTS[source.options.protocol], strict=True):
        problems.expect(f"{split} videos", count, seen[split])


def _without_skeleton(source: DatasetSource) -> frozenset[str]:
    """Names of the samples with a missing or damaged skeleton, as published."""
    for name in WITHOUT_SKELETON:
        if (source.root / name).is_file():
            found = (NAME.search(line) for line in source.lines(source.root / name))
            return frozenset(match[0] for match in found if match)
    return frozenset()
