"""Anonymized or plain videos, and pictures, become a clip store. Existing unchanged videos are kept.

Both ends may be on an object store: a video's files are downloaded, and its clips are uploaded, the
JSON last, by the process that works on it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import pickle
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from raymaskdp import check, config, places, storage
from raymaskdp.datasets.duplicates import duplicates
from raymaskdp.datasets.manifest import labels_of
from raymaskdp.distributed.map_rows import map_rows
from raymaskdp.distributed.pools import Needs, WorkerPool
from raymaskdp.errors import MACHINE, MachineError, UserError, machine_lacks
from raymaskdp.files import (
    atomic_path,
    make_way,
    own_folder,
    require_free,
    sha256_file,
    write_json,
)
from raymaskdp.locks import only_one
from raymaskdp.places import Place
from raymaskdp.train.data.clip_arrays import control_views, masked_views
from raymaskdp.train.data.clip_sources import (
    ClipSource,
    content_of,
    fetched_here,
    find_sources,
    provenance_of,
    require_apart,
)
from raymaskdp.train.data.prepare_job import PrepareConfig
from raymaskdp.train.data.same_videos import CONTENT, require_same_videos
from raymaskdp.train.data.store import FORMAT, PARTS, TABLE, about_store
from raymaskdp.train.data.store_files import remove_clips, write_array, written_to
from raymaskdp.video import masks
from raymaskdp.video.containers.same_file import SameFile


@dataclass(frozen=True, kw_only=True)
class PrepareResult:
    """The result of `prepare`.

    Attributes:
      store: its folder.
      videos: videos in the store, of them `reused` from an earlier call.
      left_out: videos that the anonymizer quarantined or failed on.
      failed: videos that could not be read, with the reason; not in the store.
      sensitive: mean share of sensitive tokens.
      fingerprint: SHA-256 over everything in the store, and as private as that.
      notes: contents that are in the store under several ids, and clips that were removed; a sentence each.
    """

    store: str
    videos: int
    reused: int
    left_out: int
    failed: dict[str, str]
    sensitive: float
    fingerprint: str
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [
            f"{self.videos} videos in the clip store {self.store} ({self.reused} existed)",
            f"{self.sensitive:.1%} of their tokens are sensitive",
        ]
        if self.left_out:
            lines.append(f"{self.left_out} left out: quarantined or failed when anonymized")
        lines += [f"failed: {name}: {reason}" for name, reason in self.failed.items()]
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(lines)


def prepare(
    source: Place, out: Place, settings: PrepareConfig | None = None, *, workers: int = 0
) -> PrepareResult:
    """Write the clip store `out` from the output folder of `anonymize`, or from plain videos.

    In plain videos (any source of `raymaskdp.datasets.read_source`) every token is sensitive; a
    manifest may name pictures, which are videos of one frame. `workers` actors of Ray Data do this, or
    threads of this process; the store is the same. `out`, and an output folder of `anonymize`, may be URLs.
    Raises `UserError` if nothing can be stored, or if `out` was prepared with other settings, and
    `MachineError` where the disk is full: what was stored stays, and the same command goes on.
    """
    settings = settings or PrepareConfig()
    check.in_range("workers", workers, low=0)
    source, out = (places.place(str(place)) for place in (source, out))
    out = out if places.is_url(out) else Path(out).absolute()  # workers start elsewhere
    if isinstance(out, Path):
        places.require_ordinary(out, "The clip store")
    sources, left_out = find_sources(source)
    require_apart(out, source, sources)
    _require_fitting(out, sources, settings)
    with _only_writer(out):
        _require_fitting(out, sources, settings)  # another process may have been faster
        return _prepared(source, out, settings, sources, left_out, workers)


def _require_fitting(out: Place, sources: Sequence[ClipSource], settings: PrepareConfig) -> None:
    """Raise `UserError` if the store holds clips of other settings or videos, or others' files."""
    if isinstance(out, Path):
        require_free(out, ("store.json", "videos.parquet"))
    about = about_store(out)
    if about is not None and about["config"] != _of_clips(settings):
        raise UserError(
            f"{out} was prepared with other settings; give another folder, or remove it, which also "
            "removes the budget history in its folder private."
        )
    require_same_videos(out, ((one.record.video_id, functools.partial(content_of, one)) for one in sources))


@contextlib.contextmanager
def _only_writer(out: Place) -> Iterator[None]:
    """Prevent other processes of this machine from writing the store; raises `UserError` if one does."""
    if not isinstance(out, Path):
        yield
        return
    folder = own_folder(out / "clips", known=about_store(out) is not None)
    refusal = f"{out} is being prepared by another process; wait for it, or end it."
    with only_one(folder / ".lock", wait_s=0, refusal=refusal):
        yield


def _prepared(
    source: Place,
    out: Place,
    settings: PrepareConfig,
    sources: Sequence[ClipSource],
    left_out: int,
    workers: int,
) -> PrepareResult:
    results = (_on_ray if workers else _in_threads)(sources, out, settings, workers)
    stored = dict(tqdm(results, "prepare", len(sources), unit="video"))
    failed: dict[str, str] = {}
    rows: list[dict[str, Any]] = []
    reused = 0
    for one in sources:
        name = one.record.video_id
        result = stored.get(name, "the worker process died at every attempt (a crash, or lack of memory)")
        if isinstance(result, str):
            failed[name] = result
        else:
            row, was_there = result
            rows.append({"index": len(rows), **row})
            reused += was_there
    if not rows:
        reason = next(iter(failed.values()), "every video was quarantined or failed when anonymized")
        raise UserError(f"No video of {source} could be prepared: {reason}")
    _require_declared(rows, settings)
    fingerprint = _fingerprint(rows, settings)
    about = {
        "format": FORMAT,
        "config": _of_clips(settings),
        "classes": list(settings.classes),
        "videos": len(rows),
        "fingerprint": fingerprint,
        "name": (about_store(out) or {}).get("name") or uuid.uuid4().hex,
    }
    with written_to(out) as folder:
        with atomic_path(folder / "videos.parquet") as temporary:
            pd.DataFrame(rows).to_parquet(temporary, index=False)
        # The table of a prepare that was killed before this line is recognised by its digest.
        write_json(folder / "store.json", about | {TABLE: sha256_file(folder / "videos.parquet")})
    gone = remove_clips(out, {one.record.video_id for one in sources}) if isinstance(out, Path) else ()
    return PrepareResult(
        store=str(out),
        videos=len(rows),
        reused=reused,
        left_out=left_out,
        failed=failed,
        sensitive=float(np.mean([row["sensitive"] for row in rows])),
        fingerprint=fingerprint,
        notes=(*duplicates(_contents(sources, rows)), *gone),
    )


def _contents(sources: Sequence[ClipSource], rows: Sequence[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Ids and digests of contents: of the source, or of the stored frames of a plain video."""
    made_of = {one.record.video_id: one.anonymized for one in sources}
    for row in rows:
        source = made_of[row["video_id"]]
        yield row["video_id"], source.partition("-")[0] if source else row["frames_sha256"]


Stored = tuple[dict[str, Any], bool] | str
"""A video's row and whether it existed already, or the video's error."""


def _in_threads(
    sources: Sequence[ClipSource], out: Place, settings: PrepareConfig, _: int
) -> Iterator[tuple[str, Stored]]:
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        results = pool.map(lambda one: _store_or_say_why(one, out, settings), sources)
        yield from zip((one.record.video_id for one in sources), results, strict=True)


def _on_ray(
    sources: Sequence[ClipSource], out: Place, settings: PrepareConfig, workers: int
) -> Iterator[tuple[str, Stored]]:
    rows = [{"name": one.record.video_id, "source": pickle.dumps(one)} for one in sources]
    pool = WorkerPool(stage=_PrepareStage, arguments=(out, settings), needs=Needs(workers=workers))
    for row in map_rows(rows, [pool]):
        stored = json.loads(row["stored"])
        if isinstance(stored, str) and stored.startswith(MACHINE):
            raise MachineError(stored.removeprefix(MACHINE))
        yield row["name"], stored


class _PrepareStage:
    """`_store_or_say_why` in an actor."""

    def __init__(self, out: Place, settings: PrepareConfig) -> None:
        self._out, self._settings = out, settings

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        one = pickle.loads(row["source"])  # noqa: S301 — written by our own driver
        try:
            stored = _store_or_say_why(one, self._out, self._settings)
        except MachineError as error:
            stored = f"{MACHINE}{error}"
        return {"stored": json.dumps(stored)}


def _store(
    one: ClipSource, out: Place, settings: PrepareConfig, made_from: str, content: str
) -> dict[str, Any]:
    """Store a video; `UserError` for one that does not fit, or that has another content than `content`."""
    with fetched_here(one, settings.people) as fetched, written_to(out) as folder:
        if one.anonymized is None:
            fetched = replace(fetched, copies=(SameFile(one.record.path, content, seen=()),))
        fetched.require_same()
        return _store_here(fetched, folder, settings, made_from, content)


def _store_here(
    one: ClipSource, out: Path, settings: PrepareConfig, made_from: str, content: str
) -> dict[str, Any]:
    size = (settings.height, settings.width)
    if settings.people == "avatar":
        frames, tokens = masked_views(one, size, settings.token)
    else:
        frames, tokens = control_views(one, size, settings.token, settings.people)
    one.require_same()
    stem = out / "clips" / one.record.video_id
    for part in PARTS:
        make_way(Path(f"{stem}.{part}"))
    Path(f"{stem}.json").unlink(missing_ok=True)  # it has the digests of the two files that are replaced now
    write_array(f"{stem}.frames.npy", frames)
    write_array(f"{stem}.masks.npy", masks.pack(tokens))
    row = {
        **{name: getattr(one.record, name) for name in ("video_id", "label", "split", "subject", "camera")},
        "num_frames": len(frames),
        "sensitive": float(tokens.mean()),
        "anonymized": one.anonymized is not None and settings.people == "avatar",
        "frames_sha256": sha256_file(f"{stem}.frames.npy"),
        "masks_sha256": sha256_file(f"{stem}.masks.npy"),
    }
    write_json(f"{stem}.json", {"made_from": made_from, CONTENT: content, "row": row})
    return row


def _store_or_say_why(one: ClipSource, out: Place, settings: PrepareConfig) -> Stored:
    """Store a video, unless it exists. Runs in threads and in actors."""
    try:
        content = content_of(one)
        made_from = _made_from(one, settings, content)
        row = _stored_row(one, out, made_from)
        return (row, True) if row else (_store(one, out, settings, made_from, content), False)
    except (UserError, OSError, ValueError, KeyError) as error:
        if lacking := machine_lacks(error):
            raise MachineError(lacking) from error  # no video is the cause, so none fails
        return places.printable(" ".join(str(error).split())) or type(error).__name__


def _stored_row(one: ClipSource, out: Place, made_from: str) -> dict[str, Any] | None:
    """The row of a video that is stored already, whole, from the same content, labels and settings.

    Objects on a store are whole; their digests are checked when they are downloaded.
    """
    if places.is_url(out):
        urls = [places.join(str(out), f"clips/{one.record.video_id}.{name}") for name in PARTS]
        if None in map(storage.version, urls):
            return None
        try:
            about = json.loads(storage.read(urls[-1]))
            return dict(about["row"]) if about["made_from"] == made_from else None
        except (ValueError, KeyError, TypeError):
            return None
    stem = Path(out) / "clips" / one.record.video_id
    try:
        about = json.loads(Path(f"{stem}.json").read_text(encoding="utf-8"))
        row: dict[str, Any] = about["row"]
        before = about["made_from"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    for name in ("frames", "masks"):
        array = Path(f"{stem}.{name}.npy")
        if not array.is_file() or sha256_file(array) != row[f"{name}_sha256"]:
            return None
    return row if before == made_from else None


def _made_from(one: ClipSource, settings: PrepareConfig, content: str) -> str:
    made: Any = one.anonymized or f"plain-{content}"
    if one.provenance is not None:
        made = [made, provenance_of(one)["outputs"]]
    facts = {**asdict(one.record), "path": None, "content": made}
    text = json.dumps([FORMAT, facts, config.digest(settings)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _of_clips(settings: PrepareConfig) -> dict[str, Any]:
    """The settings on which the stored clips depend."""
    return {name: value for name, value in asdict(settings).items() if name != "classes"}


def _require_declared(rows: list[dict[str, Any]], settings: PrepareConfig) -> None:
    """Raise `UserError` for a label that is not a declared class."""
    for row in rows if settings.classes else ():
        unknown = set(labels_of(row["label"])) - set(settings.classes)
        if unknown:
            raise UserError(
                f"The label {min(unknown)!r} of {row['video_id']} is not a declared class; add it to "
                "classes, or correct the manifest."
            )


def _fingerprint(rows: list[dict[str, Any]], settings: PrepareConfig) -> str:
    text = json.dumps([rows, _of_clips(settings)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
