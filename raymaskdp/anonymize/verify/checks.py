"""Verification of finished outputs. If a check fails, the video is quarantined.

There are two kinds of evidence: counts made while frames are written (`FrameChecks`), and a second pass over
the finished files (`check_files`). Nothing is repaired here: doubts were redacted before (`ladder`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from raymaskdp.anonymize.verify.config import VerifyConfig
from raymaskdp.places import LocalPath
from raymaskdp.video import masks, reader
from raymaskdp.video.mask_film import MaskFilm
from raymaskdp.video.reader import VideoInfo

# Shape suffixes: T frames, H rows, W columns, P tracks, B bytes of a packed mask.


_RUNGS = ("avatars_T", "silhouettes_T", "background_T", "filled_T", "blank_T")
_PIXELS = ("masked_T", "avatar_pixels_T", "silhouette_pixels_T", "changed_T", "surviving_T")
_COUNTS = (*_RUNGS, "blanked_T", *_PIXELS)


class FrameChecks:
    """Counts of every output frame, and the rules for them.

    A person-frame is a person in a frame: a tracked person, a doubt, or a region in which a person was
    detected when the frame was checked again.

    Attributes:
      avatars_T, silhouettes_T, background_T, filled_T, blank_T: person-frames by rung of the ladder.
      blanked_T: frames that are blank, 0 or 1.
      masked_T, avatar_pixels_T, silhouette_pixels_T, changed_T: pixels under masks, avatars and silhouettes,
        and those that were replaced outside the masks.
      surviving_T: pixels that depend on a masked one; -1 if the frame was not made yet.
    """

    def __init__(self, config: VerifyConfig, *, num_frames: int, height: int, width: int) -> None:
        self._config = config
        self._size = height * width
        self.avatars_T = np.zeros(num_frames, np.int32)
        self.silhouettes_T = np.zeros(num_frames, np.int32)
        self.background_T = np.zeros(num_frames, np.int32)
        self.filled_T = np.zeros(num_frames, np.int32)
        self.blank_T = np.zeros(num_frames, np.int32)
        self.blanked_T = np.zeros(num_frames, np.int32)
        self.masked_T = np.zeros(num_frames, np.int64)
        self.avatar_pixels_T = np.zeros(num_frames, np.int64)
        self.silhouette_pixels_T = np.zeros(num_frames, np.int64)
        self.changed_T = np.zeros(num_frames, np.int64)
        self.surviving_T = np.full(num_frames, -1, np.int64)

    def add(self, index: int, **counts: int) -> None:
        """Record frame `index`: counts by the names of the attributes without their suffix."""
        for name in _COUNTS:
            getattr(self, name)[index] = counts.pop(name.removesuffix("_T"))
        if counts:
            raise TypeError(f"there is no count named {', '.join(counts)}")

    def counts_T(self, frames: range) -> dict[str, np.ndarray]:
        """The counts of some frames, by name."""
        return {name: getattr(self, name)[frames.start : frames.stop] for name in _COUNTS}

    def paste(self, frames: range, counts_T: Mapping[str, np.ndarray]) -> None:
        """The inverse of `counts_T`, for frames that were counted before."""
        for name in _COUNTS:
            getattr(self, name)[frames.start : frames.stop] = counts_T[name]

    def by_rung(self) -> dict[str, int]:
        """Person-frames by rung, the highest first."""
        return {name.removesuffix("_T"): int(getattr(self, name).sum()) for name in _RUNGS}

    def below_silhouettes(self) -> int:
        """Person-frames on a rung below silhouettes."""
        rungs = self.by_rung()
        return sum(rungs.values()) - rungs["avatars"] - rungs["silhouettes"]

    def lowered(self) -> list[int]:
        """Frames with a rung below silhouettes."""
        found: list[int] = np.flatnonzero(self.background_T + self.filled_T + self.blank_T).tolist()
        return found

    def failures(self) -> list[str]:
        """Failed checks, with their frames; a video with one cannot be released."""
        found = []
        unmade = np.flatnonzero(self.surviving_T < 0)
        if unmade.size:
            found.append(f"{name_frames(unmade)} could not be made")
        surviving = np.flatnonzero(self.surviving_T > 0)
        if surviving.size:
            found.append(f"source pixels under a mask survive in {name_frames(surviving)}")
        return found

    def excesses(self) -> list[str]:
        """Limits of the ladder that the video exceeds."""
        found = []
        people, low = sum(self.by_rung().values()), self.below_silhouettes()
        # A few redacted frames in a video without tracked people are all of its person-frames, but little.
        of = max(people, len(self.avatars_T))
        if low > self._config.max_redacted * of:
            found.append(
                f"people are redacted to less than a silhouette {low} times in {len(self.avatars_T)} frames "
                f"with {people} person-frames (verify.max_redacted={self._config.max_redacted:g})"
            )
        blanked = float(self.blanked_T.mean())
        if blanked > self._config.max_blank:
            found.append(
                f"{blanked:.0%} of the frames are blank (verify.max_blank={self._config.max_blank:g})"
            )
        return found

    def summary(self) -> dict[str, Any]:
        """Per-frame counts as plain lists, for the provenance file."""
        return {name.removesuffix("_T"): getattr(self, name).tolist() for name in _COUNTS}


class Digest:
    """SHA-256 of the drawn frames, to compare the written frames with the decoded ones."""

    def __init__(self) -> None:
        self.frames = bytearray()  # 32 bytes a frame, so that chunks can be concatenated

    def add(self, frame_HW3: np.ndarray, mask_HW: np.ndarray) -> None:
        """Append the frame's pixels in the bounding box of its mask. That it is black elsewhere is checked
        separately.
        """
        box = masks.bounding_slices(mask_HW) if mask_HW.any() else (slice(0), slice(0))
        one = hashlib.sha256(repr((frame_HW3.shape, box)).encode())
        one.update(frame_HW3[box].tobytes())
        self.frames += one.digest()

    def hex(self) -> str:
        """The digest so far."""
        return hashlib.sha256(self.frames).hexdigest()


@dataclass(frozen=True, kw_only=True)
class FileChecks:
    """The result of the second pass over the finished files.

    Attributes:
      problems: broken rules; empty if all hold.
      background_psnr: dB of the decoded output against the source where nothing was replaced; None if
        everything was.
    """

    problems: tuple[str, ...]
    background_psnr: float | None


def check_files(
    *,
    source: LocalPath,
    composite: Path,
    avatar: Path,
    info: VideoInfo,
    replaced_TB: np.ndarray | MaskFilm,
    avatar_TB: np.ndarray | MaskFilm,
    avatar_digest: str,
) -> FileChecks:
    """Decode both outputs and compare them with the expected frames.

    Args:
      source: the source video; read only outside `replaced_TB`.
      composite, avatar: the files written.
      info: of the source.
      replaced_TB: packed, all pixels that differ from the source, seams included.
      avatar_TB: packed avatar coverage.
      avatar_digest: `Digest` of the avatar frames as drawn.
    """
    problems = []
    digest = Digest()
    error = 0.0
    frames = 0
    compared = 0
    spilled = False
    layers: Iterator[Any] = zip_longest(
        reader.stream(source), reader.stream(composite), reader.stream(avatar)
    )
    for frames, (before, after, layer) in enumerate(layers, start=1):
        if before is None or after is None or layer is None:
            problems.append(f"the output ends early, at frame {frames - 1}")
            break
        if before.shape != after.shape or before.shape != layer.shape:
            problems.append("the output has another size than the source")
            break
        coverage_HW = masks.unpack(avatar_TB[frames - 1], info.height, info.width)
        digest.add(layer, coverage_HW)
        outside_HW = (~coverage_HW).view(np.uint8)
        spilled |= cv2.norm(layer, cv2.NORM_INF, outside_HW) > 0
        kept_HW = ~masks.unpack(replaced_TB[frames - 1], info.height, info.width) & ~coverage_HW
        error += cv2.norm(before, after, cv2.NORM_L2SQR, kept_HW.view(np.uint8))
        compared += 3 * int(np.count_nonzero(kept_HW))
    if frames != info.num_frames:
        problems.append(f"the output has {frames} frames and the source {info.num_frames}")
    if digest.hex() != avatar_digest:
        problems.append("the avatar layer on disk is not the one that was drawn")
    if spilled:
        problems.append("the avatar layer is not black outside the avatars")
    psnr = None if not compared else float(10 * np.log10(255**2 / max(error / compared, 1e-4)))
    return FileChecks(problems=tuple(problems), background_psnr=psnr)


def name_frames(indices: np.ndarray) -> str:
    """Frame numbers as a readable list, at most the first eight."""
    listed = ", ".join(map(str, indices[:8]))
    more = f" and {indices.size - 8} more" if indices.size > 8 else ""
    return f"frame{'s' if indices.size > 1 else ''} {listed}{more}"
