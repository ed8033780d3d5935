"""Which files of an output folder are this project's: those that a provenance names, with the digest that it
names.

Nothing else in an output folder is ever removed or written over. While files of a video are replaced, its
provenance is a claim: the digests of the old ones and of the new ones. So whatever a killed run leaves there
is known to the next one.
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
"""Key of a provenance under which stand all digests that a file may have, by name."""

MARKS = frozenset({"video_id", "outputs", "config_sha256"})
"""Keys of everything that this project writes into an `ID.json`."""


def claims(content: Mapping[str, Any] | None) -> dict[str, list[str]]:
    """The digests that the files of a video may have, by name, from what its `ID.json` holds."""
    if content is None or not content.keys() >= MARKS:
        return {}
    outputs, claimed_before = content["outputs"], content.get(CLAIMED) or {}
    if not isinstance(outputs, dict) or not isinstance(claimed_before, dict):
        return {}
    found = claimed_before or {name: [digest] for name, digest in outputs.items()}
    # An output lies beside its provenance; a name that leads elsewhere is none of ours.
    return {name: list(digests) for name, digests in found.items() if name == os.path.basename(name)}


def read(out: Path, video_id: str) -> dict[str, list[str]]:
    """The same of a video in an output folder; empty where nothing of it is claimed."""
    path = out / f"{video_id}.json"
    try:
        values = json.loads(path.read_bytes()) if path.is_file() and not path.is_symlink() else None
    except (OSError, ValueError):
        return {}
    return claims(values if isinstance(values, dict) else None)


def claim(
    out: Path, video_id: str, made_from: Mapping[str, str], digests: Mapping[str, str]
) -> dict[str, list[str]]:
    """Write down that files of these digests are to come, beside those that were claimed; all of them.

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
    """What an `ID.json` holds while the files of a video are replaced."""
    return {"video_id": video_id, **made_from, "outputs": {}, CLAIMED: dict(known)}


def is_ours(path: Path, known: Mapping[str, Iterable[str]]) -> bool:
    """Whether a file is one that was claimed, as it was written."""
    return path.is_file() and not path.is_symlink() and sha256_file(path) in known.get(path.name, ())


def make_way(path: Path, known: Mapping[str, Iterable[str]]) -> None:
    """Give a file that is not ours another name in its folder, which says that it was set aside."""
    if os.path.lexists(path) and not is_ours(path, known):
        set_aside(path)


def require_free(out: Path, video_id: str, suffixes: Iterable[str], *, done_before: bool) -> None:
    """Raise `UserError` if a file of the user's stands where a video's files are to come.

    Args:
      done_before: the manifest of the folder says that this project wrote this video's files there. Then one
        that is not as it was written will be set aside.
    """
    known = read(out, video_id)
    names = {f"{video_id}{suffix}" for suffix in suffixes} - known.keys()
    names |= set() if known else {f"{video_id}.json"}
    for name in sorted(names):
        if os.path.lexists(out / name) and not done_before:
            raise taken(out / name)


def taken(path: Place) -> UserError:
    """What is said of a file of the user's where an output is to come."""
    return UserError(
        f"{path} is there already, and this project did not write it; move it away, or give another "
        "output folder."
    )
