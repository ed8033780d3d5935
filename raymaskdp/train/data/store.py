"""The clip store: videos at training size with their masks, readable at any (video, time).

    store.json          settings, a random name, fingerprint of all content (as private as the clips are)
    videos.parquet      one row per video, in index order
    clips/ID.frames.npy the full view, uint8 [T, H, W, 3]
    clips/ID.masks.npy  sensitive tokens, uint8 [T, ceil(h·w / 8)], packed (`raymaskdp.video.masks`)
    clips/ID.json       the digests of their sources; written last, so its presence means complete

The public view is not stored: it is the full view with its sensitive tokens filled.

Every file is compared with its digest in the table before it is read for the first time, and after it was
replaced: frames of one video with the masks of another would show sensitive pixels.

A store may be on an object store. Then its files are downloaded first into a folder of the cache that
is named by the fingerprint, and checked against its digest.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from raymaskdp import places, storage
from raymaskdp.datasets.display_names import plain
from raymaskdp.datasets.manifest import labels_of
from raymaskdp.errors import UserError
from raymaskdp.files import atomic_path, cache_dir, sha256_file
from raymaskdp.places import Place
from raymaskdp.train.data import views
from raymaskdp.video import masks

FORMAT = 1
PARTS = ("frames.npy", "masks.npy", "json")
"""Endings of the files of a video's clips; the last has the digests of the others."""
TABLE = "videos_sha256"
"""Key in `store.json` of the digest of its table."""
FETCHED_AT_A_TIME = 8

_State = tuple[int, int, int]
"""Inode, size and time of a file: they differ if its content was replaced."""

_CHECKED: dict[Path, tuple[str, _State]] = {}
"""Files of stores that this process has compared with their digests, and their states."""


@dataclass(frozen=True, kw_only=True)
class StoredVideo:
    """One row of the store: a video's index, length and public facts.

    Attributes:
      index: position in the store.
      num_frames: T.
      sensitive: share of its tokens that are sensitive, 0 to 1. Masks are public, so is this.
      anonymized: whether it has an avatar layer; if not, every token is sensitive.
      frames_sha256, masks_sha256: of its two files.
    """

    index: int
    video_id: str
    label: str | None
    split: str | None
    subject: str | None
    camera: str | None
    num_frames: int
    sensitive: float
    anonymized: bool
    frames_sha256: str
    masks_sha256: str


@dataclass(frozen=True)
class ClipStore:
    """Random access to a store on disk. Keeps no file open; frames are paged in by the system.

    Attributes:
      path: its folder; for a remote store, the folder of the downloaded files.
      fingerprint: digest of all content. It confirms a guess of any frame, so it is never published.
      name: the store's name in published files; drawn at random when it was made.
      declared: the declared classes; without them, classes are taken from the labels.
      url: of a remote store. Only files requested by `fetch` can be read then.

    >>> store = ClipStore.open("clips")                         # doctest: +SKIP
    >>> frames_TCHW, sensitive_THW = store.read(0, [0, 4, 8])   # doctest: +SKIP
    """

    path: Path
    videos: tuple[StoredVideo, ...]
    height: int
    width: int
    token: int
    fill: int
    fingerprint: str
    name: str
    declared: tuple[str, ...] = ()
    url: str | None = None

    @classmethod
    def open(cls, path: Place) -> ClipStore:
        """Open what `prepare` wrote; raises `UserError` if it is missing or unfinished."""
        about = about_store(path)
        if about is None:
            raise UserError(
                f"{path} is not a clip store; make one with `raymaskdp prepare SOURCE --out {path}`."
            )
        if about.get("format") != FORMAT:
            raise UserError(f"The clip store {path} was written by another version; prepare it again.")
        url = str(path) if places.is_url(path) else None
        folder = Path(path) if url is None else cache_dir() / "clips" / about["fingerprint"]
        with storage.local_copy(
            places.join(url, "videos.parquet") if url else folder / "videos.parquet"
        ) as table:
            if about.get(TABLE, digest := sha256_file(table)) != digest:
                raise UserError(
                    f"The table of the clip store {path} is not the one that prepare finished with; "
                    "prepare it again."
                )
            rows = pd.read_parquet(table).to_dict("records")
        settings = about["config"]
        return cls(
            path=folder,
            videos=tuple(_stored_video(row) for row in rows),
            height=settings["height"],
            width=settings["width"],
            token=settings["token"],
            fill=settings["fill"],
            fingerprint=about["fingerprint"],
            name=about.get("name") or str(absolute(path)),
            declared=tuple(about.get("classes", ())),
            url=url,
        )

    def fetch(self, videos: Sequence[StoredVideo]) -> None:
        """Download remote files of these videos that are missing here, and compare all with their digests.

        A whole part of the data at once, not when it is read: times of downloads would reveal to the store
        the records of a lot. Raises `UserError` for files that are missing, or not as prepared.
        """
        names = [
            (f"clips/{video.video_id}.{part}", digest)
            for video in videos
            for part, digest in zip(PARTS, (video.frames_sha256, video.masks_sha256), strict=False)
        ]
        missing = [(name, digest) for name, digest in names if self.url and not (self.path / name).is_file()]
        with ThreadPoolExecutor(max_workers=FETCHED_AT_A_TIME) as pool:
            fetched = pool.map(lambda one: self._fetch_one(*one), missing)
            for _ in tqdm(fetched, "fetch", len(missing), unit="file", disable=not missing, leave=False):
                pass
            try:
                for _ in pool.map(lambda one: self._require_prepared(self.path / one[0], one[1]), names):
                    pass
            except OSError as error:
                raise UserError(
                    f"Cannot read {error.filename} ({error.strerror}); prepare {self.path} again."
                ) from error

    def _fetch_one(self, name: str, digest: str) -> None:
        url = places.join(str(self.url), name)
        with storage.local_copy(url) as copy, atomic_path(self.path / name, ours=True) as temporary:
            if sha256_file(copy) != digest:
                raise UserError(f"{url} is not what was prepared; remove it and prepare {self.url} again.")
            shutil.copyfile(copy, temporary)

    def _rows(self, path: Path, digest: str, times: np.ndarray) -> np.ndarray:
        """Rows of an array, a copy; of the file that was compared, even if it is replaced meanwhile."""
        while True:
            state = self._require_prepared(path, digest)
            rows: np.ndarray = np.load(path, mmap_mode="r")[times]
            if _state_of(path) == state:
                return rows

    def _require_prepared(self, path: Path, digest: str) -> _State:
        """The state of a file of the store; raises `UserError` unless it matches the table.

        A file is read once per process for this, and again when it has changed.
        """
        state = _state_of(path)
        if _CHECKED.get(path) != (digest, state):
            if sha256_file(path) != digest or _state_of(path) != state:
                raise UserError(
                    f"{path} is not what the clip store {self.path} lists, because prepare was stopped "
                    "or ran again; end what reads the store, and prepare it again."
                )
            _CHECKED[path] = digest, state
        return state

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The declared classes, or the labels in the store (findings, where labels are sets), sorted.

        The position is the class. Classes that are not declared are a function of the labels.
        """
        return self.declared or tuple(
            sorted({part for video in self.videos for part in labels_of(video.label)})
        )

    @cached_property
    def several(self) -> bool:
        """Whether labels are sets of findings; `UserError` if only some are."""
        sets = {video.label.startswith("|") for video in self.videos if video.label is not None}
        if len(sets) > 1:
            raise UserError(f"In {self.path} some labels are sets of findings and some are not.")
        return sets == {True}

    def target(self, label: str) -> np.ndarray:
        """The training target of a label: its class, int64 [], or findings, float32 [classes] of 0 and 1."""
        if self.several:
            found = labels_of(label)
            return np.array([name in found for name in self.classes], dtype=np.float32)
        return np.array(self.classes.index(label))

    def class_shares(self, split: str) -> dict[str, float]:
        """The share of a split's videos with each class or finding, 0 to 1."""
        videos = self.split(split)
        counts = Counter(part for video in videos for part in labels_of(video.label))
        return {name: counts[name] / len(videos) for name in self.classes}

    def split(self, name: str) -> tuple[StoredVideo, ...]:
        """The labelled videos of a split; raises `UserError` if there is none."""
        chosen = tuple(v for v in self.videos if v.split == name and v.label is not None)
        if not chosen:
            have = ", ".join(sorted({str(v.split) for v in self.videos})) or "none"
            raise UserError(
                f"The clip store {self.path} has no labelled video of split {name!r} (it has: {have})."
            )
        return chosen

    def read(self, index: int, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Frames of video `index` at `times`: the full view, uint8 [T, H, W, 3], and where it is
        sensitive, bool [T, H, W]."""
        video = self.videos[index]
        digests = zip(PARTS, (video.frames_sha256, video.masks_sha256), strict=False)
        frames, packed = (
            self._rows(self.path / "clips" / f"{video.video_id}.{part}", digest, times)
            for part, digest in digests
        )
        tokens = masks.unpack(packed, self.height // self.token, self.width // self.token)
        return frames, views.expand(tokens, self.token)


def _state_of(path: Path) -> _State:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def absolute(place: Place) -> Place:
    """The absolute place of a store, for processes that start in other folders."""
    return place if places.is_url(place) else Path(place).absolute()


def about_store(place: Place) -> dict[str, Any] | None:
    """The content of `store.json` at a place, or None; raises `UserError` if it is another file."""
    if places.is_url(place):
        path: Place = places.join(str(place), "store.json")
        content = None if storage.version(str(path)) is None else storage.read(str(path))
    else:
        path = Path(place) / "store.json"
        content = Path(path).read_bytes() if Path(path).is_file() else None
    if content is None:
        return None
    try:
        about = dict(json.loads(content))
        if not {"format", "config"} <= about.keys():
            raise ValueError("it has no format")
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is not of a clip store that prepare wrote; give another folder.") from error
    return about


def _stored_video(row: dict[Any, Any]) -> StoredVideo:
    names = ("label", "split", "subject", "camera")
    text = {name: None if pd.isna(row[name]) else plain(str(row[name])) for name in names}
    return StoredVideo(
        index=int(row["index"]),
        video_id=str(row["video_id"]),
        num_frames=int(row["num_frames"]),
        sensitive=float(row["sensitive"]),
        anonymized=bool(row["anonymized"]),
        frames_sha256=str(row["frames_sha256"]),
        masks_sha256=str(row["masks_sha256"]),
        **text,
    )
