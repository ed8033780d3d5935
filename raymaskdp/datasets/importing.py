"""`import_dataset`: convert an official dataset to a manifest, and report its problems."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from raymaskdp import config, places
from raymaskdp.datasets import search
from raymaskdp.datasets.manifest import VideoRecord, labels_of, write_table
from raymaskdp.datasets.official import DatasetSource, Problem, Problems
from raymaskdp.datasets.registry import DATASETS
from raymaskdp.errors import UserError
from raymaskdp.files import require_ours, sha256_file
from raymaskdp.places import LocalPath


@dataclass(frozen=True, kw_only=True)
class ImportResult:
    """A manifest, and the problems of the data.

    Attributes:
      manifest: the file.
      videos: number by split; images count as videos.
      classes: number of labels, or findings.
      subjects: number, 0 if the dataset does not name them.
      problems: missing, unknown, miscounted or duplicate files. Unusable files are not in the manifest;
        videos with the same content are.
    """

    dataset: str
    manifest: str
    videos: dict[str, int]
    classes: int
    subjects: int
    problems: tuple[Problem, ...]

    def __str__(self) -> str:
        parts = ", ".join(f"{count:,} {split}" for split, count in self.videos.items())
        people = f" of {self.subjects} subjects" if self.subjects else ""
        lines = [f"{self.dataset}: {parts} videos in {self.classes} classes{people}, in {self.manifest}"]
        lines += [f"  problem: {problem}" for problem in self.problems]
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class DatasetList:
    """The datasets that can be imported, by name: a description, and their options with defaults."""

    datasets: dict[str, dict[str, Any]]

    def __str__(self) -> str:
        lines = []
        for name, about in self.datasets.items():
            options = " ".join(f"{key}={value}" for key, value in about["options"].items())
            lines.append(f"{name:<10} {about['about']}" + (f"  [{options}]" if options else ""))
        return "\n".join(lines)


def list_datasets() -> DatasetList:
    """Every dataset that `import_dataset` knows."""
    return DatasetList(
        datasets={
            name: {"about": DATASETS[name].about, "options": config.to_dict(DATASETS[name].options())}
            for name in DATASETS
        }
    )


def import_dataset(
    name: str, root: LocalPath, out: LocalPath, options: Mapping[str, Any] | None = None
) -> ImportResult:
    """Read the dataset `name` from `root` and write its manifest to `out`, a Parquet file.

    Raises `UserError` if the layout is not the official one, or if no file is usable. Single wrong files are
    omitted and listed in the result.
    """
    DATASETS.check("The dataset", name)
    dataset = DATASETS[name]
    root, out = Path(root), Path(out)
    if not root.is_dir():
        raise UserError(f"The folder {root} does not exist; give the folder of the dataset {name}.")
    if out.suffix != ".parquet":
        raise UserError(f"The manifest must be a .parquet file, but it is {out}.")
    require_ours(out, of=root)  # before the work
    chosen: Any = config.build(dataset.options, options or {}, where=f"the options of {name}")
    problems = Problems()
    source = DatasetSource(root=root, options=chosen, unpacked=out.parent / f"{name}-files")
    records = list(tqdm(dataset.read(source, problems), f"import {name}", unit="video", leave=False))
    records = _told_apart(_usable(records, problems))
    if not records:
        said = "; ".join(map(str, problems.listed())) or "the folder is empty"
        raise UserError(f"No file of {name} in {root} is usable: {said}.")
    _find_duplicates(records, problems)
    write_table(out, records, of=root)
    labels = {part for record in records for part in labels_of(record.label)}
    return ImportResult(
        dataset=name,
        manifest=str(out),
        videos=dict(Counter(str(record.split) for record in records)),
        classes=len(labels),
        subjects=len({record.subject for record in records} - {None}),
        problems=problems.listed(),
    )


def _usable(records: Sequence[VideoRecord], problems: Problems) -> list[VideoRecord]:
    kept = []
    for record in records:
        path = Path(record.path)
        if places.printable(record.path) != record.path:
            problems.add("file name that is not UTF-8", places.printable(record.path))
        elif path.suffix.lower() in search.VIDEO_SUFFIXES and search.is_output(path):  # named in a list
            problems.add(f"left out: {search.OUTPUT}", record.path)
        elif path.stat().st_size:
            kept.append(record)
        else:
            problems.add("empty file", record.path)
    return kept


def _told_apart(records: Sequence[VideoRecord]) -> list[VideoRecord]:
    """The records, with unique ids: a digest of the path in the dataset is appended to duplicates."""
    taken = Counter(record.video_id for record in records)
    if max(taken.values(), default=1) == 1:
        return list(records)
    paths = [os.path.abspath(record.path) for record in records]
    root = os.path.commonpath(paths)  # independent of how the dataset's folder is written
    digests = [hashlib.sha256(os.fsencode(os.path.relpath(path, root))).hexdigest()[:8] for path in paths]
    return [
        record
        if taken[record.video_id] == 1
        else dataclasses.replace(record, video_id=f"{record.video_id}-{digest}")
        for record, digest in zip(records, digests, strict=True)
    ]


def _find_duplicates(records: Sequence[VideoRecord], problems: Problems) -> None:
    """Report videos with the same bytes: in training and test they make the accuracy look too good; in
    training alone they are two records of one content. Only files of equal size are read.
    """
    by_size = defaultdict(list)
    for record in records:
        by_size[Path(record.path).stat().st_size].append(record)
    suspects = [record for group in by_size.values() if len(group) > 1 for record in group]
    by_content = defaultdict(list)
    for record in tqdm(suspects, "duplicates", unit="video", leave=False):
        by_content[sha256_file(record.path)].append(record)
    for group in by_content.values():
        if len(group) > 1:
            splits = {record.split for record in group}
            where = f"same content in {' and '.join(sorted(map(str, splits)))}"
            names = " = ".join(record.video_id for record in group)
            problems.add(where if len(splits) > 1 else f"{where}, twice", names)
