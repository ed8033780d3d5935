"""Which files of an output folder this project wrote: those that a provenance names, with the digests that it
names.

No other file in an output folder is ever removed or overwritten. While files of a video are replaced, its
provenance is a claim: the digests of the old files and of the new ones. So the next run recognizes all files
of a killed run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from raymaskdp.errors import UserError
from raymaskdp.files import set_aside, sha256_file, write_json
from raymaskdp.places import Place

CLAIMED = "claimed"
"""Key of a provenance with all digests that a file may have, by name."""

MARKS = frozenset({"video_id", "outputs", "config_sha256"})
"""Keys of every `ID.json` that this project writes."""


def claims(content: Mapping[str, Any] | None) -> dict[str, list[str]]:
    """The digests that the files of a video may have, by name, from the content of its `ID.json`."""
    if content is None or not content.keys() >= MARKS:
        return {}
    outputs, claimed_before = content["outputs"], content.get(CLAIMED) or {}
    if not isinstance(outputs, dict) or not isinstance(claimed_before, dict):
        return {}
    found = claimed_before or {name: [digest] for name, digest in outputs.items()}
    # An output is in the folder of its provenance; names with another folder are ignored.
    return {name: list(digests) for name, digests in found.items() if name == os.path.basename(name)}


def read(out: Path, video_id: str) -> dict[str, list[str]]:
    """The same for a video in an output folder; empty if nothing is claimed."""
    path = out / f"{video_id}.json"
    try:
        values = json.loads(path.read_bytes()) if path.is_file() and not path.is_symlink() else None
    except (OSError, ValueError):
        return {}
    return claims(values if isinstance(values, dict) else None)


def claim(
    out: Path, video_id: str, made_from: Mapping[str, str], digests: Mapping[str, str]
) -> dict[str, list[str]]:
    """Record the digests of coming files, in addition to those claimed before; returns all of them.

    Args:
      made_from: digest of the configuration, and the source and its digest.
    """
    known = read(out, video_id)
    about = out / f"{video_id}.json"
    if not known:
        set_aside(about)
    for name, digest in digests.items():
        known[name] = sorted({*known.get(name, ()), digest})
    write_json(about, claimed(video_id, made_from, known), ours=True)
    return known


def claimed(
    video_id: str, made_from: Mapping[str, str], known: Mapping[str, Iterable[str]]
) -> dict[str, Any]:
    """The content of an `ID.json` while the files of a video are replaced."""
    return {"video_id": video_id, **made_from, "outputs": {}, CLAIMED: dict(known)}


def is_ours(path: Path, known: Mapping[str, Iterable[str]]) -> bool:
    """Whether a file is claimed and unchanged."""
    return path.is_file() and not path.is_symlink() and sha256_file(path) in known.get(path.name, ())


def make_way(path: Path, known: Mapping[str, Iterable[str]]) -> None:
    """Rename a file that is not ours, within its folder; the new name says that it was set aside."""
    if os.path.lexists(path) and not is_ours(path, known):
        set_aside(path)


def require_free(out: Path, video_id: str, suffixes: Iterable[str], *, done_before: bool) -> None:
    """Raise `UserError` if a file of the user's has the name of a coming output.

    Args:
      done_before: whether the manifest says that this project wrote this video's files. A changed file is
        then renamed later.
    """
    known = read(out, video_id)
    names = {f"{video_id}{suffix}" for suffix in suffixes} - known.keys()
    names |= set() if known else {f"{video_id}.json"}
    for name in sorted(names):
        if os.path.lexists(out / name) and not done_before:
            raise occupied_error(out / name)


def occupied_error(path: Place) -> UserError:
    """The error for a file of the user's with the name of an output."""
    return UserError(
        f"{path} exists already, and this project did not write it; move it away, or give another "
        "output folder."
    )
