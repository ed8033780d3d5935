"""Video ids from paths: a file has one id, independent of how its path is written and of other files.

`videos/a/x.mp4`, found below `videos`, is `a__x`. Other endings are kept: `x.avi` is `x.avi`. A name with
characters that have to be removed or changed gets a digest of the whole, so that no two files below a folder
share an id, without a comparison with the others.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import PurePath

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp"})
"""Images are videos of one frame, for training; folders and globs are searched for videos only."""
_IN_IDS = frozenset(
    {".mp4", ".m4v", ".mov", ".qt", ".f4v", ".3gp", ".3g2", ".mj2", ".avi", ".divx", ".mkv", ".webm"}
    | {".mpg", ".mpeg", ".mpe", ".m1v", ".m2v", ".vob", ".tod", ".ts", ".mts", ".m2t", ".m2ts", ".mxf"}
    | {".flv", ".wmv", ".asf", ".ogv", ".rm", ".rmvb", ".ivf", ".nut"}
    | {".h264", ".264", ".h265", ".265", ".hevc"}
)
"""Endings that are kept in ids. None may be added: a further one would change ids such as `x.360`."""

VIDEO_SUFFIXES = _IN_IDS | {
    *(".mod", ".m2p", ".mp4v", ".trp", ".tp", ".3gpp", ".ismv", ".insv", ".lrv", ".360"),
    *(".ogm", ".dvr-ms", ".amv", ".xvid", ".avc", ".dav"),
}
"""Endings of containers that `raymaskdp.video.reader` opens."""

AMBIGUOUS = frozenset({".mod", ".360", ".dav", ".lrv", ".tp", ".amv"})
"""Those endings that other programs use for files that are not videos; the content decides."""

UNREAD_SUFFIXES = frozenset(
    {
        ".wtv",
        ".nsv",
        ".mjpg",
        ".mjpeg",
        ".y4m",
        ".yuv",
        ".braw",
        ".r3d",
        ".crm",
        ".dv",
        ".bik",
        ".smk",
        ".svi",
    }
    | {".obu", ".av1", ".viv", ".wmx", ".gif", ".apng", ".heic", ".tif", ".tiff"}
)
"""Endings of videos and animations that are not supported; such files are reported."""

DEFAULT_SUFFIX = ".mp4"
"""The only ending that is removed in ids."""

LAYER = ".avatar"
"""Suffix of a video's avatar layer after its id; no id may end with it."""

TAKEN = frozenset({"cost-plan"})
"""Ids whose `ID.json` is another file of the output folder."""

ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")
_BETWEEN = "__"
_MOST = 180


def why_no_id(text: str) -> str | None:
    """The problem with a video id; None if it is valid."""
    if not ID.fullmatch(text):
        return "must be 1 to 200 letters, digits, '.', '_' or '-', and not start with '.'"
    if text.lower().endswith(LAYER):
        return f"must not end in {LAYER!r}, as the avatar layers of other videos do"
    return "is the name of another file of the output folder" if text in TAKEN else None


def stable_id(name: PurePath) -> str:
    """The id of a file from its name and folders below the root of its source; see the module."""
    parts = [part for part in name.parts if part != "."]
    whole = name.suffix != DEFAULT_SUFFIX
    short = [*parts[:-1], parts[-1] if whole else name.stem]
    text = _BETWEEN.join(short)
    # `x.avi` is kept, so `x.avi.mp4` and a file `x` must get different ids.
    ends_as_media = PurePath(short[-1]).suffix.lower() in _IN_IDS | IMAGE_SUFFIXES
    plain = text.split(_BETWEEN) == short and whole == ends_as_media and len(text) <= _MOST
    if plain and why_no_id(text) is None:
        return text
    digest = hashlib.sha256(os.fsencode("/".join(parts))).hexdigest()[:8]
    return f"{_safe(text)}-{digest}"


def identifier(name: PurePath) -> str:
    """The identifier of official datasets: name and folders without the ending; it may not be unique."""
    parts = [part for part in name.parts if part not in ("/", "..", ".")]
    parts[-1] = PurePath(parts[-1]).stem or parts[-1]
    return _safe(_BETWEEN.join(parts))


def _safe(text: str) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", text).lstrip(".")
    return name[-_MOST:].lstrip(".") or "video"
