"""Kinetics, and other data sets with such lists.

The official lists have a header, and videos are in folders by split, and possibly by class:

    annotations/{train,val,test}.csv       or {train,val,validate,test}.csv
        label,youtube_id,time_start,time_end,split
        abseiling,0347ZoDXyP0,95,105,train
    train/[abseiling/]0347ZoDXyP0_000095_000105.mp4, val/…, test/…

Lists of SlowFast and PyTorchVideo have none:

    train.csv, val.csv, test.csv           lines "PATH CLASS", the path from the dataset's folder
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from raymaskdp.datasets.ids import identifier
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.datasets.official import DatasetSource, Problems, files_below
from raymaskdp.errors import UserError

LISTS = {"train": ("train",), "val": ("val", "validate", "validation"), "test": ("test",)}


@dataclass(frozen=True, kw_only=True)
class KineticsOptions:
    """classes: expected number, 400, 600 or 700; None for any."""

    classes: int | None = 400


def read(source: DatasetSource, problems: Problems) -> Iterator[VideoRecord]:
    """The videos of all existing lists; a class without a name keeps its number."""
    labels: set[str] = set()
    anything = False
    for split, names in LISTS.items():
        path = _list(source.root, names)
        if path is None:
            continue
        anything = True
        lines = source.lines(path)
        rows = (
            _official(source, problems, (split, *names), path, lines)
            if "youtube_id" in lines[0]
            else _plain(path, lines)
        )
        seen: set[str] = set()
        for name, place, label in rows:
            if name in seen:
                problems.add(f"video listed twice in {path.name}", name)
                continue
            seen.add(name)
            if label is not None:
                labels.add(label)
            if place is None or not (source.root / place).is_file():
                problems.add("missing video", name)
                continue
            yield VideoRecord(
                video_id=identifier(Path(split) / Path(place).name),
                path=str(source.root / place),
                label=label,
                split=split,
            )
    if not anything:
        raise UserError(
            f"{source.root} has no list train.csv, val.csv or test.csv, nor has its folder 'annotations'."
        )
    if source.options.classes is not None:
        problems.expect("classes", source.options.classes, len(labels))


def _list(root: Path, names: tuple[str, ...]) -> Path | None:
    for folder in (root / "annotations", root):
        for name in names:
            if (folder / f"{name}.csv").is_file():
                return folder / f"{name}.csv"
    return None


def _official(
    source: DatasetSource, problems: Problems, folders: tuple[str, ...], path: Path, lines: list[str]
) -> Iterator[tuple[str, str | None, str | None]]:
    """Name, path and label of each row; test lists may have no label, and whole videos no times."""
    places: dict[str, str] = {}
    for folder in dict.fromkeys(folders):
        for file in files_below(source.root / folder, problems):
            stem = Path(file).stem
            places[stem] = f"{folder}/{file}"
    for row in csv.DictReader(lines):
        identity, start, end = row.get("youtube_id"), row.get("time_start"), row.get("time_end")
        if not identity:
            raise UserError(f"A row of {path} has no youtube_id.")
        try:
            name = f"{identity}_{int(float(start)):06d}_{int(float(end)):06d}" if start and end else identity
        except ValueError as error:
            raise UserError(f"The row of {identity} in {path} has times that are not numbers.") from error
        yield name, places.get(name, places.get(identity)), row.get("label") or None


def _plain(path: Path, lines: list[str]) -> Iterator[tuple[str, str | None, str | None]]:
    for line in lines:
        place, _, label = line.replace(",", " ").rpartition(" ")
        if not place:
            raise UserError(f"The line {line!r} of {path} is not 'PATH CLASS'.")
        yield place.strip(), place.strip(), label
