"""Whether two clip stores have videos in common, by the digests of their sources."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from raymaskdp import places, storage
from raymaskdp.errors import UserError
from raymaskdp.places import Place
from raymaskdp.train.data.store import FETCHED_AT_A_TIME, FORMAT, PARTS, ClipStore, about_store

CONTENT = "content"
"""Key in a video's JSON of the digest of its source, as private as the clips are."""


def require_same_videos(out: Place, videos: Iterable[tuple[str, Callable[[], str]]]) -> None:
    """Raise `UserError` if there is a clip store at `out`, and none of its videos is among these.

    A set may grow or shrink, and be labelled or anonymized again. A store of an earlier version does
    not have these digests; for such a store the ids are compared.

    Args:
      videos: ids, and functions that give the digest of each source.
    """
    about = about_store(out)
    if about is None or about.get("format") != FORMAT or not _has_table(out):
        return
    there = {video.video_id for video in ClipStore.open(out).videos}
    for video_id, content in videos:
        if video_id in there and _content(out, video_id) in (None, content()):
            return
    raise UserError(
        f"{out} is a clip store of other videos, which this would replace; give another folder, or remove it."
    )


def contents(store: ClipStore) -> set[str] | None:
    """Digests of the files that the videos of a store were made from, and of their frames.

    None if the file is not known of one of them.
    """
    place: Place = store.url or store.path
    with ThreadPoolExecutor(max_workers=FETCHED_AT_A_TIME) as pool:
        found = set(pool.map(lambda video: _content(place, video.video_id), store.videos))
    known = {content for content in found if content}
    return known | {video.frames_sha256 for video in store.videos} if len(known) == len(found) else None


def _has_table(out: Place) -> bool:
    if isinstance(out, str):
        return storage.version(places.join(out, "videos.parquet")) is not None
    return (out / "videos.parquet").is_file()


def _content(out: Place, video_id: str) -> str | None:
    """The digest of a stored video's source; None if it was not recorded."""
    name = f"clips/{video_id}.{PARTS[-1]}"
    try:
        text = storage.read(places.join(out, name)) if isinstance(out, str) else (out / name).read_bytes()
        found = json.loads(text)[CONTENT]
    except (OSError, ValueError, KeyError, TypeError, UserError):
        return None
    return str(found)
