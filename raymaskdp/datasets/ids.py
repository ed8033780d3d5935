"""Video ids from paths: one file has one id, however its path is typed and whatever lies beside it.

`videos/a/x.mp4`, found below `videos`, is `a__x`. Other endings stay: `x.avi` is `x.avi`. A name of which
something has to be left out or changed gets a digest of the whole, so that no two files below a folder share
an id, and none has to look at the others to be told apart.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import PurePath

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp"})
"""Pictures are videos of one frame, for training; folders and globs are searched for videos alone."""
_IN_IDS = frozenset(
    {".mp4", ".m4v", ".mov", ".qt", ".f4v", ".3gp", ".3g2", ".mj2", ".avi", ".divx", ".mkv", ".webm"}
    | {".mpg", ".mpeg", ".mpe", ".m1v", ".m2v", ".vob", ".tod", ".ts", ".mts", ".m2t", ".m2ts", ".mxf"}
    | {".flv", ".wmv", ".asf", ".ogv", ".rm", ".rmvb", ".ivf", ".nut"}
    | {".h264", ".264", ".h265", ".265", ".hevc"}
)
"""Endings that stay in ids as they are. None may be added: a further one would change ids such as `x.360`."""

VIDEO_SUFFIXES = _IN_IDS | {
    *(".mod", ".m2p", ".mp4v", ".trp", ".tp", ".3gpp", ".ismv", ".insv", ".lrv", ".360"),
    *(".ogm", ".dvr-ms", ".amv", ".xvid", ".avc", ".dav"),
}
"""Endings of the containers that `raymaskdp.video.reader` opens."""

AMBIGUOUS = frozenset({".mod", ".360", ".dav", ".lrv", ".tp", ".amv"})
"""Those of them that other programs give to what is no video; the content tells."""

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
"""Endings of videos and moving pictures that are not read, and are named where they lie among videos."""

DEFAULT_SUFFIX = ".mp4"
"""The one ending that ids leave out."""

LAYER = ".avatar"
"""What a video's avatar layer is called behind its id: no id may end so."""

TAKEN = frozenset({"cost-plan"})
"""Ids whose `ID.json` is another file of the output folder."""

ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")
_BETWEEN = "__"
_MOST = 180


def why_no_id(text: str) -> str | None:
    """What is wrong with a video id; None if nothing is."""
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
    # `x.avi` stays what it is, so `x.avi.mp4` and a file `x` must be called something else.
    ends_as_media = PurePath(short[-1]).suffix.lower() in _IN_IDS | IMAGE_SUFFIXES
    plain = text.split(_BETWEEN) == short and whole == ends_as_media and len(text) <= _MOST
    if plain and why_no_id(text) is None:
        return text
    digest = hashlib.sha256(os.fsencode("/".join(parts))).hexdigest()[:8]
    return f"{_safe(text)}-{digest}"


def identifier(name: PurePath) -> str:
    """What official datasets call a file: name and folders without the ending; others may be called so."""
    parts = [part for part in name.parts if part not in ("/", "..", ".")]
    parts[-1] = PurePath(parts[-1]).stem or parts[-1]
    return _safe(_BETWEEN.join(parts))


def _safe(text: str) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", text).lstrip(".")
    return name[-_MOST:].lstrip(".") or "video"
