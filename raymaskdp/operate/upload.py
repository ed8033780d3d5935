"""The files of a working directory that are uploaded with a job: code and its settings, and nothing else."""

from __future__ import annotations

import codecs
import os
import re
from pathlib import Path

from raymaskdp.datasets.search import is_provenance
from raymaskdp.errors import UserError
from raymaskdp.operate import key_patterns

CODE = (".py", ".pyi", ".yaml", ".yml", ".toml", ".json", ".cfg", ".ini", ".txt", ".md", ".sh")
"""File name endings that are uploaded, in lower case."""

MOST_UPLOADED_MIB = 10
"""Largest size of such a file; larger ones are data, which belong on separate storage."""


def left_behind(folder: Path) -> list[str]:
    """The files of a working directory that are not uploaded, as patterns of .gitignore: all except `CODE`.

    Everything is excluded, and code is included again, so that an unusual name excludes a file. Hidden files
    and folders, links, and files of `anonymize` about videos are excluded, too. Raises `UserError` for a file
    that would be uploaded and is a key by its name or its content.
    """
    patterns = ["*", "!/."]  # the folder itself, because Ray also checks that
    for root, folders, files in os.walk(folder):
        here = Path(root).relative_to(folder)
        for name in list(folders):
            linked = (Path(root) / name).is_symlink()  # Ray would follow it to any place
            if linked or name.startswith(".") or name == "__pycache__":
                folders.remove(name)
            else:
                inner = _pattern(here / name)
                patterns += [f"!{inner}", f"{inner}/*"]
        for name in files:
            path = Path(root) / name
            taken = path.suffix.lower() in CODE and path.is_file() and not path.is_symlink()
            if name.startswith(".") or not taken or not _is_text(path) or _is_of_a_video(path):
                continue
            if key_patterns.KEYS.search((here / name).as_posix()) or _holds_a_key(path):
                raise UserError(
                    f"{path} looks like a key and would be uploaded; move it out of the working directory."
                )
            if path.stat().st_size <= MOST_UPLOADED_MIB * 2**20:
                patterns.append(f"!{_pattern(here / name)}")
    return patterns


def _is_text(path: Path) -> bool:
    """Whether a file is what its ending says: a film or a raw secret so called stays behind.

    So does text that has a picture in it.
    """
    with open(path, "rb") as opened:
        content = opened.read(MOST_UPLOADED_MIB * 2**20)
    if key_patterns.PICTURE.search(content):
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(content)  # the last letter may be cut off
    except UnicodeDecodeError:
        return content[:2] in (b"\xff\xfe", b"\xfe\xff")  # UTF-16, as some editors write
    return True


def _is_of_a_video(path: Path) -> bool:
    """Whether a file is `anonymize`'s description of a video: it names the source, and frames with people."""
    return path.suffix.lower() == ".json" and is_provenance(path.read_bytes())


def _pattern(path: Path) -> str:
    """A path as a pattern that matches only it."""
    return "/" + re.sub(r"([\\*?\[\]!# ])", r"\\\1", path.as_posix())


def _holds_a_key(path: Path) -> bool:
    with open(path, "rb") as opened:
        return key_patterns.holds_a_key(opened.read(MOST_UPLOADED_MIB * 2**20), path.suffix.lower())
