"""Sample data: labelled videos of rendered people in rooms, with full ground truth.

>>> synthesize("sample", SynthesizeConfig(people=2, actions=("wave",), frames=8))  # doctest: +SKIP
"""

from __future__ import annotations

import functools
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from raymaskdp import config, files
from raymaskdp.datasets.manifest import write_table
from raymaskdp.errors import UserError
from raymaskdp.places import LocalPath
from raymaskdp.synthetic.config import SynthesizeConfig
from raymaskdp.synthetic.filming import PlannedVideo, Studio

# Shape suffixes: P people in a video, T frames, V vertices, J = 52 joints, H rows, W columns.


@dataclass(frozen=True, kw_only=True)
class SynthesizeResult:
    """The rendered data.

    Attributes:
      manifest: path of the manifest.
      videos, people, actions, frames: their numbers.
    """

    manifest: str
    videos: int
    people: int
    actions: int
    frames: int

    def __str__(self) -> str:
        return (
            f"{self.videos} videos of {self.people} people and {self.actions} actions, {self.frames} frames: "
            f"{self.manifest}"
        )


def synthesize(out: LocalPath, settings: SynthesizeConfig) -> SynthesizeResult:
    """Render the sample data into the folder `out`.

    Writes `manifest.parquet` (columns of `VideoRecord`), `videos/ID.mp4`, and for each video `truth/ID.npz`
    (`joints2d` [P, T, 52, 2] px, `joints3d` [P, T, 52, 3] and `translation` [P, T, 3] in camera metres,
    `rotations` [P, T, 52, 3], `betas` [P, 10], `camera` [3, 3], `masks` packed [T, …]: the pixels that show a
    person, `height`, `width`, `fps`) and `truth/ID.background.png`, the empty room; for a moving camera
    `truth/ID.background.mp4`, lossless. Videos of a moving camera have no camera in the manifest.

    A folder with the same data is left unchanged, and an unfinished one is completed. Raises `UserError` if
    it has other data, and if the renderer cannot start.
    """
    folder = Path(out)
    result = SynthesizeResult(
        manifest=str(folder / "manifest.parquet"),
        videos=len(settings.actions) * settings.people * settings.takes,
        people=settings.people,
        actions=len(settings.actions),
        frames=len(settings.actions) * settings.people * settings.takes * settings.frames,
    )
    if _is_finished(folder, settings):
        return result
    scenes = missing = list(_scenes(settings))
    if (folder / "synthesize.yaml").exists():  # an earlier call with these settings was interrupted
        missing = [scene for scene in scenes if not scene.is_filmed(folder)]
    files.write_text(folder / "synthesize.yaml", config.to_yaml(settings))
    filmed = _film_all(missing, folder, settings)
    for _ in tqdm(filmed, "synthesize", len(scenes), initial=len(scenes) - len(missing), unit="video"):
        pass
    write_table(
        folder / "manifest.parquet",
        [scene.record(folder, fixed=settings.motion == "static") for scene in scenes],
    )
    return result


VIDEOS_A_PROCESS = 48
"""Least number of videos for each process, because a process takes some seconds to start."""


def _film_all(scenes: list[PlannedVideo], folder: Path, settings: SynthesizeConfig) -> Iterator[None]:
    """Render scenes one after another, or several in parallel; the result is the same."""
    processes = min(os.cpu_count() or 1, len(scenes) // VIDEOS_A_PROCESS)
    if processes < 2:
        studio = Studio(settings)
        try:
            for scene in scenes:
                studio.film(scene, folder)
                yield
        finally:
            studio.close()
        return
    film = functools.partial(_film, folder=folder, settings=settings)
    room_by_room = sorted(scenes, key=lambda scene: (scene.room, scene.camera))  # built once a process
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(film, room_by_room, chunksize=6)


@functools.cache
def _studio_of_process(settings: SynthesizeConfig) -> Studio:
    return Studio(settings)


def _film(scene: PlannedVideo, folder: Path, settings: SynthesizeConfig) -> None:
    _studio_of_process(settings).film(scene, folder)


def _is_finished(folder: Path, settings: SynthesizeConfig) -> bool:
    made = folder / "synthesize.yaml"
    if made.exists():
        if config.load(SynthesizeConfig, made) != settings:
            raise UserError(
                f"{folder} has sample data with other settings; give another folder or remove it."
            )
        return (folder / "manifest.parquet").exists()
    if folder.is_dir() and any(folder.glob("manifest.*")):
        raise UserError(f"{folder} has a manifest that is not of sample data; give another folder.")
    return False


def _scenes(settings: SynthesizeConfig) -> Iterator[PlannedVideo]:
    """All videos, in a fixed order. Rooms and cameras are independent of the action."""
    rng = np.random.default_rng([settings.seed, 1])
    held_out = round(settings.test_share * settings.people)
    tested = set(rng.permutation(settings.people)[:held_out].tolist())
    for person in range(settings.people):
        split = "test" if person in tested else "train"
        others = [p for p in range(settings.people) if (p in tested) == (person in tested) and p != person]
        for action in settings.actions:
            for take in range(settings.takes):
                people = [person]
                if settings.persons_per_video > 1 and others:
                    people.append(int(rng.choice(others)))
                yield PlannedVideo(
                    people=tuple(people),
                    action=action,
                    take=take,
                    room=int(rng.integers(settings.rooms)),
                    camera=int(rng.integers(settings.cameras)),
                    split=split,
                )
