"""Names as they are seen."""

from __future__ import annotations

import unicodedata

JOINERS = frozenset("\u200c\u200d")
"""Invisible, but between two letters they are part of how some scripts are written."""


def plain(text: str) -> str:
    """A name as it is seen: two names that look alike would be two classes, or two people.

    In one form of Unicode (NFC), with plain spaces alone, and without characters of no width.
    """
    spaced = "".join(" " if unicodedata.category(letter) == "Zs" else letter for letter in text)
    seen = "".join(c for c in spaced if c in JOINERS or unicodedata.category(c) != "Cf")
    return unicodedata.normalize("NFC", seen).strip().strip("".join(JOINERS)).strip()
