"""CheXpert (Irvin et al. 2019): chest X-rays with the five findings of its competition.

    CheXpert-v1.0-small/{train.csv, valid.csv, train/patient00001/study1/view1_frontal.jpg, …}

The lists have 1 (present), 0 (absent), -1 (uncertain) or nothing (not mentioned, read as 0) for each
finding. The patient is the subject, so that the unit of privacy can be a person.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from raymaskdp.datasets.ids import identifier
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.datasets.official import DatasetSource, Problems
from raymaskdp.errors import UserError

FINDINGS = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
UNCERTAIN_ONES = frozenset({"Atelectasis", "Edema"})
"""Findings that the policy `mixed` counts as present if the list is uncertain (Yuan et al. 2021)."""
COUNTS = {"train": 223_414, "val": 234}
FILES = {"train": "train.csv", "val": "valid.csv"}


@dataclass(frozen=True, kw_only=True)
class ChexpertOptions:
    """How the lists are read.

    Attributes:
      uncertain: whether an uncertain finding counts as present: `ones`, `zeros`, or `mixed`, which depends on
        the finding.
      frontal: only frontal views.
    """

    uncertain: Literal["mixed", "ones", "zeros"] = "mixed"
    frontal: bool = False


def read(source: DatasetSource, problems: Problems) -> Iterator[VideoRecord]:
    """The images of both lists, each labelled with the set of its findings."""
    folder = source.folder("CheXpert-v1.0-small", "CheXpert-v1.0")
    patients: dict[str, str] = {}
    for split, file in FILES.items():
        rows = list(csv.DictReader(source.lines(folder / file)))
        missing = [column for column in ("Path", *FINDINGS) if not rows or column not in rows[0]]
        if missing:
            raise UserError(f"{folder / file} has no column {missing[0]!r}.")
        problems.expect(f"rows in {file}", COUNTS[split], len(rows))
        for row in rows:
            name = row["Path"].partition("/")[2]  # paths in the list begin with the dataset's own folder
            if source.options.frontal and "frontal" not in name:
                continue
            patient = re.search(r"patient\d+", name)
            if patient is None:
                problems.add("path without a patient", row["Path"])
                continue
            if patients.setdefault(patient[0], split) != split:
                problems.add("patient in both training and validation", patient[0])
            values = {finding: row[finding].strip() for finding in FINDINGS}
            odd = [f"{name}: {value}" for value in values.values() if value and _number(value) is None]
            if odd:
                problems.add("value that is not 1, 0, -1 or nothing", odd[0])
                continue
            if not (folder / name).is_file():
                problems.add("missing picture", name)
                continue
            found = [
                finding for finding, value in values.items() if _is_there(finding, value, source.options)
            ]
            yield VideoRecord(
                video_id=identifier(Path(name)),
                path=str(folder / name),
                label="|" + "".join(f"{finding}|" for finding in found),
                split=split,
                subject=patient[0],
            )


def _is_there(finding: str, value: str, options: ChexpertOptions) -> bool:
    if _number(value) == -1:
        return options.uncertain == "ones" or (options.uncertain == "mixed" and finding in UNCERTAIN_ONES)
    return _number(value) == 1


def _number(value: str) -> int | None:
    """-1, 0 or 1, in any notation; None for other values."""
    try:
        number = float(value)
    except ValueError:
        return None
    return int(number) if number in (-1, 0, 1) else None
