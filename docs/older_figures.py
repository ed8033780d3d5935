"""Prints which figures of measurements.md are older than the code that they measure: `make figures`.

Below each heading with figures stands a line `<!-- measured: COMMIT PATH ... -->`: the commit that was
measured, or the latest of several, and the files and folders whose changes may change the figures.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parent / "measurements.md"
MARK = re.compile(r"<!-- measured: ([0-9a-f]{7,40}) (\S+(?: \S+)*) -->")


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The figures below one heading, the commit they are of, and what they measure."""

    heading: str
    commit: str
    paths: tuple[str, ...]


def marked(page: str) -> list[Figures]:
    """All figures of a page; raises `SystemExit` for a heading with a table and without a mark."""
    found = []
    for part in re.split(r"^(?=#{2,4} )", page, flags=re.MULTILINE)[1:]:
        heading = part.splitlines()[0].lstrip("# ")
        mark = MARK.search(part)
        if mark:
            found.append(Figures(heading=heading, commit=mark[1], paths=tuple(mark[2].split())))
        elif re.search(r"^\| .*\d", part, flags=re.MULTILINE):
            raise SystemExit(
                f"Below the heading {heading!r} there are figures without a line '<!-- measured: … -->'."
            )
    return found


def changes_since(figures: Figures, folder: Path) -> int:
    """How many commits since have changed what the figures measure."""
    command = [
        "git",
        "-C",
        str(folder),
        "rev-list",
        "--count",
        f"{figures.commit}..HEAD",
        "--",
        *figures.paths,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(
            f"The commit {figures.commit} of {figures.heading!r} is not in {folder}: {done.stderr.strip()}"
        )
    return int(done.stdout)


def main() -> int:
    """Print one line for each heading; 0 whether figures are old or not."""
    for figures in marked(PAGE.read_text()):
        count = changes_since(figures, PAGE.parents[1])
        state = f"{count} commits since" if count else "of the present code"
        print(f"{figures.commit}  {state:>22}  {figures.heading}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
