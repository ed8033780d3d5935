"""Tables: those that this project wrote, and the cells of those that users bring."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from raymaskdp.datasets.display_names import plain
from raymaskdp.errors import Damaged


def read_parquet(path: Path) -> pd.DataFrame:
    """The table in a file. Raises `Damaged` for an incomplete or empty one, or for another kind of file."""
    try:
        if not path.is_file():
            raise OSError("it is not a file")
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise Damaged(
            f"{path} is damaged, or not a table; restore it from a copy, or move it away."
        ) from error


def text_of(value: Any, column: str, *, findings: Collection[str] = ()) -> str | None:
    """A cell as text; None for an empty one.

    Args:
      findings: the columns in which a list stands for a set of findings, `|Edema|Effusion|`.

    Raises `ValueError` for what is no text and no number, such as bytes or a group of values.
    """
    if isinstance(value, np.ndarray | list | tuple):
        if column not in findings:
            raise ValueError(f"the column {column!r} holds lists; it takes one value a row")
        parts = [text_of(part, column) for part in value]
        if not all(part and "|" not in part for part in parts):
            raise ValueError(f"the column {column!r} holds a list with an empty name, or one with '|' in it")
        return "|".join(["", *map(plain, map(str, parts)), ""]) if parts else "|"
    if isinstance(value, bytes | bytearray | memoryview):
        raise ValueError(f"the column {column!r} holds bytes, not text; save it as text")
    if isinstance(value, dict):
        raise ValueError(f"the column {column!r} holds groups of values, not text; give one of them")
    return None if pd.isna(value) else str(value)
