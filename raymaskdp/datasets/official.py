"""Common parts of the readers of official datasets: their input, and a list of problems.

A reader raises a `UserError` if its input is not recognizable: a missing folder or list, or an invalid line
of a list. Problems of single files are recorded as a `Problem`, and the file is omitted, so that one run
shows all problems.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raymaskdp.datasets import search
from raymaskdp.datasets.ids import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from raymaskdp.errors import UserError

EXAMPLES = 5
MEDIA_SUFFIXES = VIDEO_SUFFIXES | IMAGE_SUFFIXES


@dataclass(frozen=True, kw_only=True)
class DatasetSource:
    """The input of a reader.

    Attributes:
      root: the dataset's folder, as its archives unpack.
      options: an instance of the dataset's options.
      unpacked: a folder for single files of datasets that are distributed in packs; created when needed.
    """

    root: Path
    options: Any
    unpacked: Path

    def folder(self, *names: str) -> Path:
        """The first of these folders that exists below the root; raises `UserError` if none does."""
        for name in names:
            if (self.root / name).is_dir():
                return self.root / name
        wanted = " or ".join(repr(name) for name in names)
        raise UserError(f"{self.root} has no folder {wanted}; give the folder that the archives unpack into.")

    def lines(self, path: Path) -> list[str]:
        """The lines of a list that are not blank; raises `UserError` if there are none."""
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"Cannot read the list {path}: {error}.") from error
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if not lines:
            raise UserError(f"The list {path} is empty.")
        return lines


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One kind of problem, its frequency, and a few examples."""

    what: str
    count: int
    examples: tuple[str, ...]

    def __str__(self) -> str:
        more = ", …" if self.count > len(self.examples) else ""
        return f"{self.what} ({self.count}): {', '.join(self.examples)}{more}"


class Problems:
    """A list of problems, filled while reading."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {}

    def add(self, what: str, example: str) -> None:
        """Record one case of a kind of problem."""
        self._found.setdefault(what, []).append(example)

    def expect(self, what: str, expected: int, found: int) -> None:
        """Record a count that differs from the published one."""
        if expected != found:
            self.add("wrong count", f"{found:,} {what} instead of {expected:,}")

    def listed(self) -> tuple[Problem, ...]:
        """All recorded problems, in order of first appearance."""
        return tuple(
            Problem(what=what, count=len(cases), examples=tuple(cases[:EXAMPLES]))
            for what, cases in self._found.items()
        )


def files_below(
    folder: Path, problems: Problems, suffixes: Collection[str] = MEDIA_SUFFIXES
) -> Iterator[str]:
    """Files with these suffixes at any depth, sorted, relative to `folder`, with `/`.

    Links to folders are followed, and what is left out is noted, as where `anonymize` searches a folder.
    """
    if not folder.is_dir():
        return
    found, left_out = search.below(folder, suffixes)
    for reason, names in left_out.items():
        for name in names:
            problems.add(f"left out: {reason}", name)
    for path in found:
        yield path.as_posix()
