"""What stands in the cells of a user's table, as text."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

JOINERS = frozenset("\u200c\u200d")
"""Invisible, but between two letters they are part of how some scripts are written."""


def plain(text: str) -> str:
    """A name as it is seen: two names that look alike would be two classes, or two people.

    In one form of Unicode (NFC), with plain spaces alone, and without characters of no width.
    """
    spaced = "".join(" " if unicodedata.category(letter) == "Zs" else letter for letter in text)
    seen = "".join(c for c in spaced if c in JOINERS or unicodedata.category(c) != "Cf")
    return unicodedata.normalize("NFC", seen).strip().strip("".join(JOINERS)).strip()


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
