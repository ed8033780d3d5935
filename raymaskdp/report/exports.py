"""The report's tables and plots as files: CSV for tables, SVG and PNG for plots."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from raymaskdp.datasets.tables import read_parquet
from raymaskdp.files import atomic_path
from raymaskdp.report.pictures import plots
from raymaskdp.train.run.curve import read_curve
from raymaskdp.train.run.result import read_result

HERE = "here"
"""What the searched folder itself is called."""

MOST_BYTES = 200
"""Of a folder's name in that of a file; a character has up to four."""


def write(folder: Path, root: Path, manifests: Iterable[Path], runs: Sequence[Path]) -> tuple[str, ...]:
    """Write tables and plots of manifests and runs below `root` into `folder`; returns the files' names."""
    written = []
    for manifest in manifests:
        table = read_parquet(manifest).drop(columns=["source"], errors="ignore")
        written.append(_table(folder / f"videos-{_name(manifest.parent, root)}.csv", table))
    for run in runs:
        path = folder / f"training-{_name(run, root)}"
        written += plots.write_training_curve(path, read_curve(run / "curve.jsonl"))
    if runs:
        written.append(
            _table(folder / "trainings.csv", pd.DataFrame([asdict(read_result(run)) for run in runs]))
        )
    return tuple(written)


def _name(folder: Path, root: Path) -> str:
    """What a folder below `root` is called in the name of a file: no two are called the same."""
    parts = folder.relative_to(root).parts
    plain = "-".join(parts) or HERE
    if len(parts) < 2 and parts != (HERE,) and len(os.fsencode(plain)) <= MOST_BYTES:
        return plain
    digest = hashlib.sha256(os.fsencode("/".join(parts))).hexdigest()[:8]
    return f"{plain[-MOST_BYTES // 4 :]}-{digest}"


def _table(path: Path, table: pd.DataFrame) -> str:
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False)
    return str(path)
