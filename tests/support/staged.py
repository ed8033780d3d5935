"""Scenes of rendered people, cut out of a sample video and put elsewhere: pixels and poses are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from support.formats import LCRNET, Film, lcrnet, write_frames

from raymaskdp.anonymize import AnonymizeConfig, AnonymizeResult, anonymize
from raymaskdp.anonymize.people.config import PoseConfig
from raymaskdp.anonymize.people.people import People
from raymaskdp.anonymize.people.sources import pose_source
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.video.masks import unpack
from raymaskdp.video.reader import VideoFrames, VideoInfo, probe, stream
from raymaskdp.video.writer import VideoWriter


@dataclass(frozen=True)
class Shown:
    """A person of the film, moved by (dx, dy) pixels and made `size` times as large about the feet."""

    person: int
    dx: float = 0
    dy: float = 0
    size: float = 1
    known: bool = True  # whether the file of skeletons has this body


@dataclass(frozen=True)
class Staged:
    """A scene on disk, its people's true pixels [T, P] of bool [H, W], and where its skeletons are."""

    video: Path
    masks: list[list[np.ndarray]]

    @property
    def record(self) -> VideoRecord:
        return VideoRecord(video_id=self.video.stem, path=str(self.video))

    @property
    def info(self) -> VideoInfo:
        return probe(self.video)

    def people(self, *, veto: bool = False) -> People:
        config = PoseConfig(source="smarthome", skeletons=self.video.parent, veto=veto)
        return pose_source(config)(VideoFrames(self.video), probe(self.video), self.record)

    def anonymized(self, out: Path, *, veto: bool = True, **settings: object) -> AnonymizeResult:
        """With poses from the skeletons; `veto` has detectors look for people whom these do not know."""
        pose = PoseConfig(
            source="smarthome", skeletons=self.video.parent, veto=veto, landmarks=Path(__file__)
        )  # no network: opening it would fail
        return anonymize(self.video, out, AnonymizeConfig(workers=0, pose=pose, **settings), progress=False)


def stage(folder: Path, film: Film, frames: Sequence[Sequence[Shown]]) -> Staged:
    """Film people cut out of `film`, later ones in front of earlier ones."""
    truth, video = film.truth, folder / "scene.mp4"
    room = cv2.imread(str(film.path.with_suffix("").with_suffix(".background.png")))[..., ::-1]
    with np.load(film.path) as stored:
        everybody = unpack(stored["masks"], truth.height, truth.width)
    pictures = list(stream(film.record.path))
    points = [truth.points(LCRNET, person) for person in truth.people]
    pixels = [truth.pixels(where) for where in points]
    between = np.mean([where[..., 0].mean() for where in pixels])  # they stand beside each other
    masks: list[list[np.ndarray]] = []
    skeletons: list[list[dict]] = []
    rng = np.random.default_rng(0)
    with VideoWriter(video, width=truth.width, height=truth.height, fps=truth.fps) as writer:
        for number, shown in enumerate(frames):
            frame = number % len(pictures)
            picture, seen, bodies = room.copy(), [], []
            for one in shown:
                mine = everybody[frame].copy()
                left = pixels[one.person][..., 0].mean() < between
                mine[:, round(between) :] &= not left
                mine[:, : round(between)] &= left
                feet = np.array([pixels[one.person][frame, :, 0].mean(), np.flatnonzero(mine.any(1)).max()])
                shift = feet * (1 - one.size) + (one.dx, one.dy)
                matrix = np.array([[one.size, 0, shift[0]], [0, one.size, shift[1]]])
                size = (truth.width, truth.height)
                moved = cv2.warpAffine(mine.astype(np.uint8), matrix, size, flags=cv2.INTER_NEAREST) > 0
                picture[moved] = cv2.warpAffine(pictures[frame], matrix, size)[moved]
                for other in seen:
                    other &= ~moved
                seen.append(moved)
                if one.known:
                    where = pixels[one.person][frame] * one.size + shift
                    bodies.append(lcrnet(where, points[one.person][frame] * one.size, truth))
            noise = rng.normal(0, 2, picture.shape)
            writer.write(np.clip(picture + noise, 0, 255).astype(np.uint8))
            masks.append(seen)
            skeletons.append(bodies)
    write_frames(folder / "scene.json", skeletons)
    return Staged(video, masks)
