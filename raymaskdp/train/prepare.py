"""Anonymized or plain videos, and pictures, become a clip store. What is there and unchanged is kept.

Both ends may be on an object store: a video's files are fetched, and what it becomes is brought there, its
JSON last, by whichever process works on it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import json
import os
import pickle
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from tqdm import tqdm

from raymaskdp import check, config, storage
from raymaskdp.datasets.apart import keep_apart
from raymaskdp.datasets.doubles import doubles
from raymaskdp.datasets.ids import IMAGE_SUFFIXES
from raymaskdp.datasets.manifest import VideoRecord, labels_of, read_source
from raymaskdp.datasets.originals import require_content
from raymaskdp.datasets.search import OUTPUT_COLUMNS
from raymaskdp.distributed.map_rows import map_rows
from raymaskdp.errors import UserError
from raymaskdp.files import MADE, atomic_path, make_way, own_folder, sha256_file, write_json
from raymaskdp.train.data import views
from raymaskdp.train.data.positive_controls import People, with_blurred_people, without_people
from raymaskdp.train.data.same_videos import CONTENT, require_same_videos
from raymaskdp.train.data.store import FORMAT, PARTS, about_store
from raymaskdp.video import masks
from raymaskdp.video.picture import read_picture
from raymaskdp.video.reader import stream

CHUNK = 32
"""Frames resampled at a time, which bounds memory at source size."""


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """Size of the stored frames, and the grid on which pixels are sensitive or not.

    Attributes:
      width, height: pixels; the source is scaled, and cropped in the middle to keep its aspect.
      token: side in pixels of the square, one frame deep, that is sensitive or not as a whole; 1 is the
        single pixel. Larger ones put more synthetic pixels among the sensitive. Need not be the model's.
      fill: what replaces sensitive pixels in the public view, 0 to 255.
      people: avatar; or, to compare with, the source video with its people removed or blurred, all of
        which is sensitive. Both need an output folder of `anonymize`, and the sources.
      classes: all classes (or findings) that there can be, in the order that models learn them. Without,
        they are those of the labels, and which labels occur is public.
    """

    width: int = 64
    height: int = 48
    token: int = 1
    fill: int = 128
    people: People = "avatar"
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("width", "height", "token"):
            check.positive(name, getattr(self, name))
        check.in_range("fill", self.fill, low=0, high=255)
        if self.width % self.token or self.height % self.token:
            raise UserError(
                f"width ({self.width}) and height ({self.height}) must be multiples of token ({self.token})."
            )


@dataclass(frozen=True, kw_only=True)
class PrepareResult:
    """What `prepare` made.

    Attributes:
      store: its folder.
      videos: videos in the store, of them `reused` from an earlier call.
      left_out: videos that the anonymizer quarantined or failed on.
      failed: videos that could not be read, with the reason; not in the store.
      sensitive: mean share of sensitive tokens.
      fingerprint: SHA-256 over everything in the store, and as private as that.
      notes: contents that are in the store under several ids; a sentence each.
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
            f"{self.videos} videos in the clip store {self.store} ({self.reused} were there)",
            f"{self.sensitive:.1%} of their tokens are sensitive",
        ]
        if self.left_out:
            lines.append(f"{self.left_out} left out: quarantined or failed when anonymized")
        lines += [f"failed: {name}: {reason}" for name, reason in self.failed.items()]
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class Source:
    """One video to store, and where it and what belongs to it are: paths, or URLs of an object store.

    Attributes:
      anonymized: digest of what the anonymizer made it from, or None for a plain video.
      avatar_layer, avatar_masks: None for a plain video.
      original: the video that the anonymizer read, or None for a plain video.
      provenance: what the anonymizer wrote about it, with the digests of its files; None for a plain video.
    """

    record: VideoRecord
    anonymized: str | None
    avatar_layer: str | Path | None = None
    avatar_masks: str | Path | None = None
    original: str | Path | None = None
    provenance: str | Path | None = None


def prepare(
    source: str | Path, out: str | Path, settings: PrepareConfig | None = None, *, workers: int = 0
) -> PrepareResult:
    """Write the clip store `out` from the output folder of `anonymize`, or from plain videos.

    In plain videos (anything that `raymaskdp.datasets.read_source` takes) every token is sensitive; a
    manifest may name pictures, which are videos of one frame. `workers` actors of Ray Data do it, or the
    threads of this process; the store is the same. `out`, and an output folder of `anonymize`, may be URLs.
    Raises `UserError` if nothing can be stored, or if `out` was prepared with other settings.
    """
    settings = settings or PrepareConfig()
    check.in_range("workers", workers, low=0)
    source, out = (storage.place(str(place)) for place in (source, out))
    out = out if storage.is_url(out) else Path(out).absolute()  # workers start elsewhere
    _require_same_settings(out, settings)
    sources, left_out = find_sources(source)
    _require_apart(out, source, sources)
    _require_fitting(out, sources, settings)
    with _only_one(out):
        _require_fitting(out, sources, settings)  # another process may have been faster
        return _prepared(source, out, settings, sources, left_out, workers)


def _require_fitting(out: str | Path, sources: Sequence[Source], settings: PrepareConfig) -> None:
    """Raise `UserError` if the store holds clips of other settings or videos."""
    _require_same_settings(out, settings)
    require_same_videos(out, ((one.record.video_id, functools.partial(_content_of, one)) for one in sources))


@contextlib.contextmanager
def _only_one(out: str | Path) -> Iterator[None]:
    """Let no other process of this machine write the store; raises `UserError` where one does."""
    if not isinstance(out, Path):
        yield
        return
    folder = own_folder(out / "clips", known=about_store(out) is not None)
    try:
        held = FileLock(folder / ".lock").acquire(timeout=0)
    except Timeout:
        raise UserError(f"{out} is being prepared by another process; wait for it, or end it.") from None
    with held:
        yield


def _prepared(
    source: str | Path,
    out: str | Path,
    settings: PrepareConfig,
    sources: Sequence[Source],
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
        result = stored.get(name, "the worker process died at every try (a crash, or not enough memory)")
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
    with _written_to(out) as folder:
        with atomic_path(folder / "videos.parquet") as temporary:
            pd.DataFrame(rows).to_parquet(temporary, index=False)
        write_json(folder / "store.json", about)
    return PrepareResult(
        store=str(out),
        videos=len(rows),
        reused=reused,
        left_out=left_out,
        failed=failed,
        sensitive=float(np.mean([row["sensitive"] for row in rows])),
        fingerprint=fingerprint,
        notes=doubles(_contents(sources, rows)),
    )


def _contents(sources: Sequence[Source], rows: Sequence[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Ids and digests of contents: of the source, or of the stored frames of a plain video."""
    made_of = {one.record.video_id: one.anonymized for one in sources}
    for row in rows:
        source = made_of[row["video_id"]]
        yield row["video_id"], source.partition("-")[0] if source else row["frames_sha256"]


Stored = tuple[dict[str, Any], bool] | str
"""A video's row and whether it was there already, or what is wrong with the video."""


def _in_threads(
    sources: Sequence[Source], out: str | Path, settings: PrepareConfig, _: int
) -> Iterator[tuple[str, Stored]]:
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        results = pool.map(lambda one: _store_or_say_why(one, out, settings), sources)
        yield from zip((one.record.video_id for one in sources), results, strict=True)


def _on_ray(
    sources: Sequence[Source], out: str | Path, settings: PrepareConfig, workers: int
) -> Iterator[tuple[str, Stored]]:
    rows = [{"name": one.record.video_id, "source": pickle.dumps(one)} for one in sources]
    for row in map_rows(rows, _Stage, out, settings, workers=workers):
        yield row["name"], json.loads(row["stored"])


class _Stage:
    """`_store_or_say_why` in an actor."""

    def __init__(self, out: str | Path, settings: PrepareConfig) -> None:
        self._out, self._settings = out, settings

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        one = pickle.loads(row["source"])  # noqa: S301 — written by our own driver
        return {"stored": json.dumps(_store_or_say_why(one, self._out, self._settings))}


def find_sources(source: str | Path) -> tuple[list[Source], int]:
    """What there is to store, in the manifest's order, and how many anonymized videos were not done."""
    table = storage.join(str(source), "manifest.parquet") if storage.is_url(source) else Path(source)
    if isinstance(table, Path) and table.is_dir():
        table = table / "manifest.parquet"
    columns: list[str] = []
    if isinstance(table, str) or (table.name == "manifest.parquet" and table.is_file()):
        with storage.local_copy(table) as manifest_file:
            manifest = pd.read_parquet(manifest_file)
        columns = list(manifest.columns)
    if not set(columns) >= OUTPUT_COLUMNS:
        plain = storage.only_local(source, why="is no output folder of anonymize")
        return [Source(record=record, anonymized=None) for record in read_source(plain)], 0
    beside = _beside(table)
    done = manifest[manifest["status"] == "done"]
    fields = ("video_id", "label", "split", "subject", "camera")
    sources = []
    for row in done.to_dict("records"):
        values = {name: str(row[name]) for name in fields if not pd.isna(row[name])}
        path = row["path"] if storage.is_url(row["path"]) else beside(row["path"])
        with_video = _beside(path)
        sources.append(
            Source(
                record=VideoRecord(path=str(path), **values),
                anonymized=f"{row['source_sha256']}-{row['config_sha256']}",
                avatar_layer=with_video(f"{row['video_id']}.avatar.mp4"),
                avatar_masks=with_video(f"{row['video_id']}.npz"),
                original=storage.named(row["source"]),
                provenance=with_video(f"{row['video_id']}.json"),
            )
        )
    return sources, len(manifest) - len(done)


def _require_apart(out: str | Path, source: str | Path, sources: Sequence[Source]) -> None:
    """Raise `UserError` if the store would lie among the videos, or on another command's output."""
    keep_apart(out, source, [one.record for one in sources])
    if about_store(out) is None:
        if storage.is_url(out):
            taken = storage.version(storage.join(str(out), "videos.parquet")) is not None
        else:
            taken = (Path(out) / "manifest.parquet").exists()
        if taken:
            raise UserError(f"{out} holds something else than a clip store; give another folder.")


def _beside(place: str | Path) -> Callable[[str], str | Path]:
    """What gives the places of names in the folder of `place`."""
    if isinstance(place, str):
        folder, _ = storage.split(place)
        return lambda name: storage.join(folder, name)
    return lambda name: place.parent / name


@contextlib.contextmanager
def _fetched(one: Source, settings: PrepareConfig) -> Iterator[Source]:
    """The same with those of its files on this machine that are needed here."""
    with contextlib.ExitStack() as stack:

        def here(place: str | Path | None) -> Path | None:
            return None if place is None else stack.enter_context(storage.local_copy(place))

        if settings.people != "avatar":
            _require_written(one, {one.avatar_masks: (covered := here(one.avatar_masks))})
            film = here(one.original)
            if one.anonymized is not None and film is not None:
                require_content(film, str(one.original), one.anonymized.partition("-")[0])
            yield replace(one, avatar_masks=covered, original=film)
            return
        record = replace(one.record, path=str(here(one.record.path)))
        layer, covered = here(one.avatar_layer), here(one.avatar_masks)
        _require_written(
            one,
            {one.record.path: Path(record.path), one.avatar_layer: layer, one.avatar_masks: covered},
        )
        yield replace(one, record=record, avatar_layer=layer, avatar_masks=covered)


def _require_written(one: Source, copies: Mapping[str | Path | None, Path | None]) -> None:
    """Raise `UserError` unless files are those that the anonymizer wrote: what it calls public is public only
    then.

    Args:
      copies: where the files lie on this machine, by where they belong.
    """
    if one.provenance is None:
        return
    outputs = _provenance_of(one)["outputs"]
    for place, copy in copies.items():
        name = str(place).rsplit("/", 1)[-1]
        if copy is None or not copy.is_file() or sha256_file(copy) != outputs.get(name):
            raise UserError(
                f"{place} is not the file that anonymize wrote for {one.record.video_id} "
                f"(its digest is not the one in {one.provenance}); anonymize the video again."
            )


def _provenance_of(one: Source) -> dict[str, Any]:
    """What the anonymizer wrote about a video. Raises `UserError` where it did not, or about another one."""
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


@contextlib.contextmanager
def _written_to(out: str | Path) -> Iterator[Path]:
    """A folder to write into; its files then are in `out`, JSON, which vouches for the others, last."""
    if not storage.is_url(out):
        yield Path(out)
        return
    with tempfile.TemporaryDirectory(prefix="raymaskdp-") as scratch:
        folder = Path(scratch)
        yield folder
        files = [path for path in folder.rglob("*") if path.is_file() and path.name != MADE]
        for path in sorted(files, key=lambda path: (path.suffix == ".json", path)):
            url = storage.join(str(out), path.relative_to(folder).as_posix())
            part = next((part for part in PARTS if path.name.endswith(f".{part}")), None)
            if path.parent != folder and part is not None:
                _keep_foreign(url, about_url=f"{url.removesuffix(part)}{PARTS[-1]}")
            storage.publish(path, url)


def _keep_foreign(url: str, about_url: str) -> None:
    """Give an object that no earlier run vouches for another name before something is put in its place.

    What a killed run brought before its JSON is kept so, too: nobody vouches for it.
    """
    version = storage.version(url)
    if version is None:
        return
    try:
        about = json.loads(storage.read(about_url))
        vouched = {about["row"]["frames_sha256"], about["row"]["masks_sha256"]}
        ours = url == about_url and isinstance(about["made_from"], str)
    except (UserError, ValueError, KeyError, TypeError):
        vouched, ours = set(), False
    if not ours:
        with storage.local_copy(url) as copy:
            ours = sha256_file(copy) in vouched
    if not ours:
        storage.set_aside(url, f"{url.rsplit('/', 1)[1]}.set-aside-{version[:8]}")


def _store(one: Source, out: str | Path, settings: PrepareConfig, made_from: str) -> dict[str, Any]:
    """Write one video's arrays and return its row. Raises `UserError` for input that does not fit."""
    with _fetched(one, settings) as fetched, _written_to(out) as folder:
        return _store_here(fetched, folder, settings, made_from, _content_of(one))


def _store_here(
    one: Source, out: Path, settings: PrepareConfig, made_from: str, content: str
) -> dict[str, Any]:
    frames, tokens = _views(one, settings) if settings.people == "avatar" else _control(one, settings)
    stem = out / "clips" / one.record.video_id
    for part in PARTS:
        make_way(Path(f"{stem}.{part}"))
    Path(f"{stem}.json").unlink(missing_ok=True)  # which vouches for the two that are replaced now
    _write_array(f"{stem}.frames.npy", frames)
    _write_array(f"{stem}.masks.npy", masks.pack(tokens))
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


def _views(one: Source, settings: PrepareConfig) -> tuple[np.ndarray, np.ndarray]:
    """The full view at training size, uint8 [T, H, W, 3], and its sensitive tokens, bool [T, h, w]."""
    full_views, sensitive_tokens = [], []
    for composite, avatar, sensitive in _chunks(one):
        resampling = views.Resampling.between(composite.shape[1:3], (settings.height, settings.width))
        tokens = views.sensitive_tokens(resampling.touched(sensitive), settings.token)
        sensitive_tokens.append(tokens)
        full_views.append(
            views.full_view(
                resampling.frames(composite),
                resampling.frames(avatar),
                views.expand(tokens, settings.token),
            )
        )
    if not full_views:
        raise UserError(f"The video {one.record.path} has no frame.")
    return np.concatenate(full_views), np.concatenate(sensitive_tokens)


def _control(one: Source, settings: PrepareConfig) -> tuple[np.ndarray, np.ndarray]:
    """The same of the source with its people removed or blurred; all tokens are sensitive."""
    if one.original is None or one.avatar_masks is None:
        raise UserError(
            f"people={settings.people} needs to know where people are; prepare an output folder of anonymize."
        )
    with np.load(one.avatar_masks, allow_pickle=False) as arrays:
        people = masks.unpack(arrays["person_masks"], int(arrays["height"]), int(arrays["width"]))
    frames, covered, start = [], [], 0
    for source in _batched(stream(one.original)):
        inside = people[start : start + CHUNK]
        if source.shape[:3] != inside.shape:
            break
        resampling = views.Resampling.between(source.shape[1:3], (settings.height, settings.width))
        frames.append(resampling.frames(source))
        covered.append(resampling.touched(inside))
        start += len(source)
    if start != len(people) or not frames:
        raise UserError(f"{one.original} differs from its masks in size or length; anonymize it again.")
    change = without_people if settings.people == "removed" else with_blurred_people
    changed = change(np.concatenate(frames), np.concatenate(covered))
    rows, columns = settings.height // settings.token, settings.width // settings.token
    return changed, np.ones((len(changed), rows, columns), dtype=bool)


def _chunks(one: Source) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Runs of frames: composite and avatar layer, uint8 [T, S, R, 3], and where sensitive, bool [T, S, R]."""
    if one.avatar_layer is None or one.avatar_masks is None:
        picture = Path(one.record.path).suffix.lower() in IMAGE_SUFFIXES
        for frames in _batched(read_picture(one.record.path) if picture else stream(one.record.path)):
            yield frames, np.zeros_like(frames), np.ones(frames.shape[:3], dtype=bool)
        return
    with np.load(one.avatar_masks, allow_pickle=False) as arrays:
        covered = masks.unpack(arrays["avatar_masks"], int(arrays["height"]), int(arrays["width"]))
    start = 0
    # Not `zip`: a layer that is shorter than its video must not go unnoticed.
    layers = itertools.zip_longest(_batched(stream(one.record.path)), _batched(stream(one.avatar_layer)))
    for composite, avatar in layers:
        inside = covered[start : start + CHUNK]
        if composite is None or avatar is None or not composite.shape[:3] == avatar.shape[:3] == inside.shape:
            raise UserError(
                f"{one.record.path}, its avatar layer and its masks differ in size or length; "
                "anonymize it again."
            )
        start += len(composite)
        yield composite, avatar, ~inside
    if start != len(covered):
        raise UserError(f"{one.record.path} has fewer frames than masks; anonymize it again.")


def _batched(frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    while chunk := list(itertools.islice(frames, CHUNK)):
        yield np.stack(chunk)


def _store_or_say_why(one: Source, out: str | Path, settings: PrepareConfig) -> Stored:
    """Store a video, unless it is there. Runs in threads and in actors."""
    try:
        made_from = _made_from(one, settings)
        row = _stored_row(one, out, made_from)
        return (row, True) if row else (_store(one, out, settings, made_from), False)
    except (UserError, OSError, ValueError, KeyError) as error:
        return storage.printable(" ".join(str(error).split())) or type(error).__name__


def _stored_row(one: Source, out: str | Path, made_from: str) -> dict[str, Any] | None:
    """The row of a video that is stored already, whole, from the same content, labels and settings.

    Objects on a store are whole; that they still are what was brought there is checked when they are fetched.
    """
    if storage.is_url(out):
        urls = [storage.join(str(out), f"clips/{one.record.video_id}.{name}") for name in PARTS]
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


def _content_of(one: Source) -> str:
    """The digest of the video that is stored, or that the anonymizer read; "" of one that cannot be read."""
    if one.anonymized is not None:
        return one.anonymized.partition("-")[0]
    try:
        return sha256_file(one.record.path)
    except OSError:
        return ""  # that is said when it is its turn


def _made_from(one: Source, settings: PrepareConfig) -> str:
    content: Any = one.anonymized or f"plain-{sha256_file(one.record.path)}"
    if one.provenance is not None:
        content = [content, _provenance_of(one)["outputs"]]
    facts = {**asdict(one.record), "path": None, "content": content}
    text = json.dumps([FORMAT, facts, config.digest(settings)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _require_same_settings(out: str | Path, settings: PrepareConfig) -> None:
    about = about_store(out)
    if about is not None and about["config"] != _of_clips(settings):
        raise UserError(f"{out} was prepared with other settings; give another folder, or remove it.")


def _of_clips(settings: PrepareConfig) -> dict[str, Any]:
    """The settings on which the stored clips depend."""
    return {name: value for name, value in asdict(settings).items() if name != "classes"}


def _require_declared(rows: list[dict[str, Any]], settings: PrepareConfig) -> None:
    """Raise `UserError` for a label that is none of the declared classes."""
    for row in rows if settings.classes else ():
        unknown = set(labels_of(row["label"])) - set(settings.classes)
        if unknown:
            raise UserError(
                f"The label {min(unknown)!r} of {row['video_id']} is none of the declared classes; add it to "
                "classes, or correct the manifest."
            )


def _fingerprint(rows: list[dict[str, Any]], settings: PrepareConfig) -> str:
    text = json.dumps([rows, _of_clips(settings)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _write_array(path: str, array: np.ndarray) -> None:
    with atomic_path(path) as temporary, open(temporary, "wb") as opened:
        np.save(opened, array)
