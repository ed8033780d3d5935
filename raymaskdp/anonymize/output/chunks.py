"""A video in chunks of some seconds, each written to disk when it is completed.

If a worker dies, another one resumes after the last completed chunk. The chunk boundaries are fixed, and each
chunk starts with a key frame and with the refiner's state at the end of the previous chunk. So the joined
files are byte-identical with those of an uninterrupted run.

A folder of chunks contains no source pixels, but outlines and motions of people and an unverified output. It
is private, and deleted when the video is decided.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from raymaskdp.files import atomic_path
from raymaskdp.video.mask_film import MaskFilm

# Shape suffixes: T frames of a chunk, H rows, W columns.

_LIBRARIES = ("raymaskdp", "av", "numpy", "opencv-contrib-python", "pyrender", "torch")


@dataclass(frozen=True, kw_only=True, eq=False)
class Chunk:
    """The data of a chunk's frames, besides its two video files.

    Attributes:
      counts_T: counts of each frame, by name (`verify.FrameChecks`).
      films: packed masks by name.
      digests: of the avatar frames (`verify.Digest`).
      state: of the refiner after the last frame; empty after it was dropped.
      refined: the refiner's counts.
    """

    counts_T: Mapping[str, np.ndarray]
    films: Mapping[str, MaskFilm]
    digests: bytes
    state: bytes
    refined: Mapping[str, int]

    def save(self, path: Path) -> None:
        """Write it atomically; the state to a separate file, first, because it is dropped soon."""
        with atomic_path(_state_of(path), ours=True) as temporary:
            temporary.write_bytes(self.state)
        arrays = {f"count_{name}": values_T for name, values_T in self.counts_T.items()}
        for name, film in self.films.items():
            arrays[f"film_{name}"], arrays[f"sizes_{name}"] = film.packed()
            arrays[f"bytes_{name}"] = np.array(film.shape[1])
        arrays["digests"] = np.frombuffer(self.digests, np.uint8)
        arrays["refined"] = np.frombuffer(json.dumps(dict(self.refined)).encode(), np.uint8)
        with atomic_path(path, ours=True) as temporary:
            np.savez(temporary, **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> Chunk:
        """The inverse of `save`."""
        with np.load(path, allow_pickle=False) as opened:
            stored = {name: opened[name] for name in opened.files}
        named = [name.removeprefix("film_") for name in stored if name.startswith("film_")]
        return cls(
            counts_T={n.removeprefix("count_"): stored[n] for n in stored if n.startswith("count_")},
            films={
                n: MaskFilm.unpacked(stored[f"film_{n}"], stored[f"sizes_{n}"], int(stored[f"bytes_{n}"]))
                for n in named
            },
            digests=stored["digests"].tobytes(),
            state=_state_of(path).read_bytes() if _state_of(path).is_file() else b"",
            refined=json.loads(stored["refined"].tobytes()),
        )


@dataclass(frozen=True, kw_only=True)
class Chunks:
    """The chunks of one video, in a folder.

    Attributes:
      folder: the folder.
      num_frames: of the video.
      length: frames of a chunk; the last one may be shorter.
    """

    folder: Path
    num_frames: int
    length: int

    @classmethod
    def whole(cls, folder: Path, num_frames: int) -> Chunks:
        """A single chunk, inside `folder`."""
        return cls(folder=folder / "chunks", num_frames=num_frames, length=num_frames)

    def __len__(self) -> int:
        return -(-self.num_frames // self.length)

    def frames(self, number: int) -> range:
        """The frames of a chunk."""
        return range(number * self.length, min(self.num_frames, (number + 1) * self.length))

    def composite(self, number: int) -> Path:
        """The path of its composite."""
        return self.folder / f"{number:05d}.mp4"

    def avatar(self, number: int) -> Path:
        """The path of its avatar layer."""
        return self.folder / f"{number:05d}.avatar.mp4"

    def notes(self, number: int) -> Path:
        """The path of its data, written last: a chunk is complete if this file exists."""
        return self.folder / f"{number:05d}.npz"

    def drop_state(self, number: int) -> None:
        """Remove the state of a chunk whose successor is complete, because states of networks are large."""
        _state_of(self.notes(number)).unlink(missing_ok=True)

    def finished(self) -> int:
        """Number of complete chunks from the first one on, with the state for the next."""
        found = next((n for n in range(len(self)) if not self.notes(n).is_file()), len(self))
        while 0 < found < len(self) and not _state_of(self.notes(found - 1)).is_file():
            found -= 1
        return found


def _state_of(notes: Path) -> Path:
    return notes.with_suffix(".state")


def folder_of(chunks: Path, made_of: Mapping[str, Any]) -> Path:
    """The folder for a video in the private folder `chunks`, named by everything that determines the output.

    Args:
      made_of: digests and names; the versions of libraries are added, because they matter, too.
    """
    decides = dict(made_of) | {library: version(library) for library in _LIBRARIES}
    key = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:32]
    folder = chunks / key
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
