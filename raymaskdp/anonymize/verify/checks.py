"""Prove the output before anybody sees it; one broken rule quarantines the video.

Two kinds of evidence: what is counted while frames are made (`FrameChecks`), and what a second look
at the finished files finds (`check_files`). Nothing is repaired here, and nothing is guessed: what
cannot be shown to be right is reported as wrong.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from raymaskdp import check
from raymaskdp.video import masks, reader
from raymaskdp.video.mask_film import MaskFilm
from raymaskdp.video.reader import VideoInfo

# Shape suffixes: T frames, H rows, W columns, P tracks, B bytes of a packed mask.


@dataclass(frozen=True, kw_only=True)
class VerifyConfig:
    """Limits; beyond any of them a video is quarantined.

    Attributes:
      require_people: a video in which nobody is found is quarantined: nobody was replaced, and that
        nobody was missed cannot be shown.
      min_overlap: each visible person's avatar must cover at least this fraction of the person's mask.
      max_changed: fraction of a frame, outside the masks, that may differ from the plate.
      max_unseen: fraction of the plate that may have been filled in.
      detector_frames: frames without avatars shown to the independent detectors, spread over the
        video; 0 turns them off.
    """

    require_people: bool = True
    min_overlap: float = 0.05
    max_changed: float = 0.15
    max_unseen: float = 0.6
    detector_frames: int = 2

    def __post_init__(self) -> None:
        check.in_range("verify.min_overlap", self.min_overlap, low=0.0, high=1.0)
        check.in_range("verify.max_changed", self.max_changed, low=0.0, high=1.0)
        check.in_range("verify.max_unseen", self.max_unseen, low=0.0, high=1.0)
        check.in_range("verify.detector_frames", self.detector_frames, low=0)


class Detectors(Protocol):
    """Networks that find people without knowing of tracks or masks."""

    def __call__(self, frame_HW3: np.ndarray) -> tuple[str, ...]:
        """What was found in the frame, such as ("a face",); empty for nobody."""


_COUNTS = ("people_T", "replaced_T", "masked_T", "avatar_T", "silhouette_T", "changed_T", "surviving_T")


class FrameChecks:
    """Counts of every output frame, and the rules that they must keep."""

    def __init__(self, config: VerifyConfig, *, num_frames: int, height: int, width: int) -> None:
        self._config = config
        self._size = height * width
        self.people_T = np.zeros(num_frames, np.int32)
        self.replaced_T = np.zeros(num_frames, np.int32)
        self.masked_T = np.zeros(num_frames, np.int64)
        self.avatar_T = np.zeros(num_frames, np.int64)
        self.silhouette_T = np.zeros(num_frames, np.int64)
        self.changed_T = np.zeros(num_frames, np.int64)
        self.surviving_T = np.full(num_frames, -1, np.int64)  # -1: not yet made

    def add(
        self,
        index: int,
        *,
        person_masks: Sequence[np.ndarray],
        drawn: Sequence[bool],
        avatar_mask_HW: np.ndarray,
        silhouettes_HW: np.ndarray,
        masked: int,
        changed: int,
        surviving: int,
    ) -> None:
        """Record frame `index`.

        Args:
          person_masks: bool [H, W] of each person visible in the frame.
          drawn: for each of them, whether its avatar has a pose in this frame.
          avatar_mask_HW: coverage of all avatars.
          silhouettes_HW: coverage of the silhouettes of people without a pose.
          masked, changed, surviving: pixels under masks, changed outside them, and surviving.
        """
        self.people_T[index] = len(person_masks)
        for mask_HW, has_pose in zip(person_masks, drawn, strict=True):
            area = np.count_nonzero(mask_HW)
            # Who has no pose is replaced by a silhouette, where those are wanted, and else not at all.
            covered = np.count_nonzero(mask_HW & (avatar_mask_HW if has_pose else silhouettes_HW))
            self.replaced_T[index] += bool(area and covered >= max(1, self._config.min_overlap * area))
        self.silhouette_T[index] = np.count_nonzero(silhouettes_HW)
        self.avatar_T[index] = np.count_nonzero(avatar_mask_HW)
        self.masked_T[index] = masked
        self.changed_T[index] = changed
        self.surviving_T[index] = surviving

    def counts_T(self, frames: range) -> dict[str, np.ndarray]:
        """What was counted in some frames, by name."""
        return {name: getattr(self, name)[frames.start : frames.stop] for name in _COUNTS}

    def paste(self, frames: range, counts_T: Mapping[str, np.ndarray]) -> None:
        """The inverse of `counts_T`, for frames that were counted before."""
        for name in _COUNTS:
            getattr(self, name)[frames.start : frames.stop] = counts_T[name]

    def problems(self) -> list[str]:
        """The rules that are broken, with the frames; empty if all hold."""
        found = []
        unmade = np.flatnonzero(self.surviving_T < 0)
        if unmade.size:
            found.append(f"{name_frames(unmade)} could not be made")
        surviving = np.flatnonzero(self.surviving_T > 0)
        if surviving.size:
            found.append(f"source pixels under a person mask survive in {name_frames(surviving)}")
        unreplaced = np.flatnonzero(self.replaced_T < self.people_T)
        if unreplaced.size:
            found.append(f"a person has no avatar in {name_frames(unreplaced)}")
        restless = np.flatnonzero(self.changed_T > self._config.max_changed * self._size)
        if restless.size:
            found.append(f"much of the scene moves outside the person masks in {name_frames(restless)}")
        if self._config.require_people and not self.people_T.any():
            found.append("no person was found, so none could be replaced")
        return found

    def summary(self) -> dict[str, Any]:
        """Per-frame counts as plain lists, for the provenance file."""
        return {
            "people": self.people_T.tolist(),
            "replaced": self.replaced_T.tolist(),
            "masked_pixels": self.masked_T.tolist(),
            "avatar_pixels": self.avatar_T.tolist(),
            "silhouette_pixels": self.silhouette_T.tolist(),
            "changed_pixels": self.changed_T.tolist(),
            "surviving_pixels": self.surviving_T.tolist(),
        }


def detector_problems(detectors: Detectors, frames: Iterable[tuple[str, np.ndarray]]) -> list[str]:
    """What independent detectors find in pictures that must show nobody, given as (name, frame)."""
    problems = []
    for name, frame_HW3 in frames:
        found = detectors(frame_HW3)
        if found:
            problems.append(f"an independent detector finds {' and '.join(found)} in {name}")
    return problems


class Digest:
    """SHA-256 of what is drawn in a sequence of frames, to compare what was written with what is read."""

    def __init__(self) -> None:
        self.frames = bytearray()  # 32 bytes a frame, so that it can be put together from pieces

    def add(self, frame_HW3: np.ndarray, mask_HW: np.ndarray) -> None:
        """Append what a frame holds in the box around its mask; that it is black elsewhere is seen apart."""
        box = masks.around(mask_HW) if mask_HW.any() else (slice(0), slice(0))
        one = hashlib.sha256(repr((frame_HW3.shape, box)).encode())
        one.update(frame_HW3[box].tobytes())
        self.frames += one.digest()

    def hex(self) -> str:
        """The digest so far."""
        return hashlib.sha256(self.frames).hexdigest()


@dataclass(frozen=True, kw_only=True)
class FileChecks:
    """What a second look at the finished files found.

    Attributes:
      problems: broken rules; empty if all hold.
      background_psnr: dB of the decoded output against the source where nothing was replaced;
        None where everything was.
    """

    problems: tuple[str, ...]
    background_psnr: float | None


def check_files(
    *,
    source: str | Path,
    composite: Path,
    avatar: Path,
    info: VideoInfo,
    replaced_TB: np.ndarray | MaskFilm,
    avatar_TB: np.ndarray | MaskFilm,
    avatar_digest: str,
) -> FileChecks:
    """Decode both outputs and compare them with what they must be.

    Args:
      source: the source video; read only outside `replaced_TB`.
      composite, avatar: the files written.
      info: of the source.
      replaced_TB: packed, all that is not the source's, seams included.
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
    """Frame numbers as a person would list them, at most the first eight."""
    listed = ", ".join(map(str, indices[:8]))
    more = f" and {indices.size - 8} more" if indices.size > 8 else ""
    return f"frame{'s' if indices.size > 1 else ''} {listed}{more}"
