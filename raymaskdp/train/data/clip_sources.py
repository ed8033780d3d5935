"""The sources of clips: outputs of `anonymize` with their provenance, or plain videos."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from raymaskdp import places, storage
from raymaskdp.datasets.manifest import VideoRecord, read_source
from raymaskdp.datasets.search import OUTPUT_COLUMNS
from raymaskdp.datasets.separate_folders import keep_apart, require_sources
from raymaskdp.datasets.source_lookup import require_content
from raymaskdp.datasets.tables import read_parquet
from raymaskdp.errors import Damaged, UserError
from raymaskdp.files import sha256_file
from raymaskdp.places import Place
from raymaskdp.train.data.prepare_job import People
from raymaskdp.train.data.store import about_store
from raymaskdp.video.containers.same_file import SameFile, look


@dataclass(frozen=True, kw_only=True)
class ClipSource:
    """One video to store, with the places of its files: paths, or URLs of an object store.

    Attributes:
      anonymized: digest of the anonymizer's inputs, or None for a plain video.
      avatar_layer, avatar_masks: None for a plain video.
      original: the video that the anonymizer read, or None for a plain video.
      provenance: the anonymizer's JSON about it, with the digests of its files; None for a plain video.
      copies: the local files that are read, with their checked digests; none before that.
    """

    record: VideoRecord
    anonymized: str | None
    avatar_layer: Place | None = None
    avatar_masks: Place | None = None
    original: Place | None = None
    provenance: Place | None = None
    copies: tuple[SameFile, ...] = ()

    def require_same(self) -> None:
        """Raise `UserError` if a file is not the one any more whose digest was checked."""
        for copy in self.copies:
            copy.require_same()


def find_sources(source: Place) -> tuple[list[ClipSource], int]:
    """The videos to store, in the manifest's order, and how many anonymized videos were not done."""
    table = places.join(str(source), "manifest.parquet") if places.is_url(source) else Path(source)
    if isinstance(table, Path) and table.is_dir():
        table = table / "manifest.parquet"
    columns: list[str] = []
    if isinstance(table, Path):
        places.require_ordinary(table, "The source")
    if isinstance(table, str) or (table.name == "manifest.parquet" and table.exists()):
        with storage.local_copy(table) as manifest_file:
            manifest = read_parquet(manifest_file)
        columns = list(manifest.columns)
    if not set(columns) >= OUTPUT_COLUMNS | {"video_id"}:
        plain = places.only_local(source, why="is not an output folder of anonymize")
        records = read_source(plain)
        require_sources(records, "the output folder of anonymize, so that what is public in it is known")
        return [ClipSource(record=record, anonymized=None) for record in records], 0
    beside = _beside(table)
    done = manifest[manifest["status"] == "done"]
    _require_whole(done, table)
    fields = ("video_id", "label", "split", "subject", "camera")
    sources = []
    for row in done.to_dict("records"):
        values = {name: str(row[name]) for name in fields if not pd.isna(row.get(name))}
        path = row["path"] if places.is_url(row["path"]) else beside(row["path"])
        with_video = _beside(path)
        sources.append(
            ClipSource(
                record=VideoRecord(path=str(path), **values),
                anonymized=f"{row['source_sha256']}-{row['config_sha256']}",
                avatar_layer=with_video(f"{row['video_id']}.avatar.mp4"),
                avatar_masks=with_video(f"{row['video_id']}.npz"),
                original=places.named(row["source"]),
                provenance=with_video(f"{row['video_id']}.json"),
            )
        )
    return sources, len(manifest) - len(done)


def _require_whole(done: pd.DataFrame, table: Place) -> None:
    """Raise `Damaged` unless each done video has one row, with its places."""
    places_of = done.reindex(columns=["video_id", "path", "source"])
    if places_of.isna().any(axis=None):
        name = places_of[places_of.isna().any(axis=1)]["video_id"].iloc[0]
        raise Damaged(f"{table} is damaged: the row of {name} lacks its path or its source; anonymize again.")
    if done["video_id"].duplicated().any():
        name = done["video_id"][done["video_id"].duplicated()].iloc[0]
        raise Damaged(f"{table} is damaged: {name} has more than one row; anonymize again.")


def require_apart(out: Place, source: Place, sources: Sequence[ClipSource]) -> None:
    """Raise `UserError` if the store would be among the videos, or on another command's output."""
    keep_apart(out, source, [one.record for one in sources])
    if about_store(out) is None:
        if places.is_url(out):
            taken = storage.version(places.join(str(out), "videos.parquet")) is not None
        else:
            taken = (Path(out) / "manifest.parquet").exists()
        if taken:
            raise UserError(f"{out} has other content than a clip store; give another folder.")


def _beside(place: Place) -> Callable[[str], Place]:
    """A function that gives the places of names in the folder of `place`."""
    if isinstance(place, str):
        folder, _ = places.split(place)
        return lambda name: places.join(folder, name)
    return lambda name: place.parent / name


@contextlib.contextmanager
def fetched_here(one: ClipSource, people: People) -> Iterator[ClipSource]:
    """The same with local copies of the files that are needed."""
    with contextlib.ExitStack() as stack:

        def here(place: Place | None) -> Path | None:
            return None if place is None else stack.enter_context(storage.local_copy(place))

        if people != "avatar":
            covered, film = here(one.avatar_masks), here(one.original)
            copies = _checked(one, {one.avatar_masks: covered})
            if one.anonymized is not None and film is not None:
                seen, sha256 = look(film), one.anonymized.partition("-")[0]
                require_content(film, str(one.original), sha256)
                copies += (SameFile(film, sha256, seen),)
            yield replace(one, avatar_masks=covered, original=film, copies=copies)
            return
        record = replace(one.record, path=str(here(one.record.path)))
        layer, covered = here(one.avatar_layer), here(one.avatar_masks)
        files = {one.record.path: Path(record.path), one.avatar_layer: layer, one.avatar_masks: covered}
        copies = _checked(one, files)
        yield replace(one, record=record, avatar_layer=layer, avatar_masks=covered, copies=copies)


def _checked(one: ClipSource, copies: Mapping[Place | None, Path | None]) -> tuple[SameFile, ...]:
    """Files with their digests. Raises `UserError` unless they are those that the anonymizer wrote: its
    public parts are public only then.

    Args:
      copies: local copies of the files, by their places.
    """
    if one.provenance is None:
        return ()
    outputs = provenance_of(one)["outputs"]
    checked = []
    for place, copy in copies.items():
        name = str(place).rsplit("/", 1)[-1]
        seen = () if copy is None else look(copy)
        if copy is None or not copy.is_file() or sha256_file(copy) != outputs.get(name):
            raise UserError(
                f"{place} is not the file that anonymize wrote for {one.record.video_id} "
                f"(its digest is not the one in {one.provenance}); anonymize the video again."
            )
        checked.append(SameFile(copy, outputs[name], seen))
    return tuple(checked)


def provenance_of(one: ClipSource) -> dict[str, Any]:
    """The anonymizer's JSON about a video. Raises `UserError` if it is missing or of another video."""
    assert one.provenance is not None
    try:
        with storage.local_copy(one.provenance) as copy:
            values = json.loads(copy.read_bytes())
        about = values["row"]
        if not isinstance(values["outputs"], dict):
            raise TypeError
        made_from = about["video_id"], f"{about['source_sha256']}-{about['config_sha256']}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{one.provenance}, which vouches for the avatar layer, is missing or damaged; anonymize again."
        ) from error
    if made_from != (one.record.video_id, one.anonymized):
        raise UserError(f"{one.provenance} is of another video than the manifest says; anonymize again.")
    found: dict[str, Any] = values
    return found


def content_of(one: ClipSource) -> str:
    """The digest of the stored video, or of the anonymizer's source; "" if it cannot be read."""
    if one.anonymized is not None:
        return one.anonymized.partition("-")[0]
    try:
        return sha256_file(one.record.path)
    except OSError:
        return ""  # this is reported when it is stored
