"""Videos of one fixed camera share their background: the donors, and the two stages.

Some videos of a camera (`PlateConfig.shared_videos`), its donors, are analyzed first and *observed*. The
camera's views are built once, from these observations. Then the donors are finished, and all other videos of
the camera are processed in one pass. The results are in a private folder and named by content: by the digests
of sources and settings. So a run after a killed one uses the same plates, and a run without work changes
none. They are independent of other runs' videos of the same camera.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from raymaskdp.anonymize.background import shared_plate
from raymaskdp.anonymize.background.background import observe
from raymaskdp.anonymize.background.plate import filled
from raymaskdp.anonymize.compose.scene import Scene
from raymaskdp.anonymize.config import AnonymizeConfig
from raymaskdp.anonymize.item import Analyzed, BackgroundSharing, Item
from raymaskdp.anonymize.outcome import run_item
from raymaskdp.anonymize.stages.job import Job
from raymaskdp.anonymize.verify.look_again import LookAgain
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.places import LocalPath


@dataclass(frozen=True, kw_only=True)
class SharedCamera:
    """A camera with a plate to build.

    Attributes:
      name: as in the manifest.
      observations: files of its observed videos, in a fixed order.
      views: the file to write.
    """

    name: str
    observations: tuple[str, ...]
    views: str


def donors(records: Iterable[VideoRecord], most: int) -> dict[str, tuple[VideoRecord, ...]]:
    """The videos from which each camera's plate is built, by camera; none for a camera with a single video.

    If there are more than `most`, they are selected by a digest of the name, because consecutive videos often
    show the same person at the same place.
    """
    by_camera: defaultdict[str, list[VideoRecord]] = defaultdict(list)
    for record in records:
        if record.camera is not None:
            by_camera[record.camera].append(record)
    return {
        camera: tuple(sorted(sorted(some, key=_draw)[:most], key=lambda record: record.video_id))
        for camera, some in by_camera.items()
        if len(some) > 1 and most > 1
    }


def observation_path(plates: Path, camera: str, source_sha256: str, config_sha256: str) -> Path:
    """The path of the observation of a video."""
    return plates / f"{_short(camera)}-{source_sha256[:24]}-{config_sha256[:16]}.npz"


def camera_of(plates: Path, name: str, observations: Iterable[LocalPath]) -> SharedCamera | None:
    """The camera whose plate is built from the existing observations; None for fewer than two."""
    there = sorted({Path(path) for path in observations if Path(path).is_file()})
    if len(there) < 2:
        return None
    digest = hashlib.sha256("\n".join(path.name for path in there).encode()).hexdigest()
    views = plates / f"{_short(name)}-views-{digest[:24]}.npz"
    return SharedCamera(name=name, observations=tuple(map(str, there)), views=str(views))


class Observe:
    """Stores the observed background of an analyzed video, and moves its analysis to a file."""

    def __init__(self, config: AnonymizeConfig, job: Job) -> None:
        self._config = config
        self._config_sha256 = config.digest()
        self._job = job

    def __call__(self, item: Item) -> Item:
        """An analyzed video that shares its background, now with its observation; any other unchanged."""
        if not isinstance(item, Analyzed) or item.shares is None:
            return item
        return run_item(functools.partial(self._observe, item.shares), item)

    def _observe(self, shares: BackgroundSharing, item: Analyzed) -> Analyzed:
        path = observation_path(shares.plates, shares.camera, item.source_sha256, self._config_sha256)
        packed = item.packed()
        scene = Scene.unpack(packed)
        # If no person was found, one may have been missed in every frame, so the background is not shared.
        if scene.visible_PT.any() and not path.is_file():
            masks_TB = scene.dilated_masks(self._config.composite.margin * item.info.height)
            observe(item.film(), item.info, masks_TB, self._config.plate).save(path)
        found = str(path) if path.is_file() else None
        aside = self._job.work / f"{item.record.video_id}.analysis"
        aside.write_bytes(packed)
        return dataclasses.replace(item, analysis=aside, observation=found)


class BuildViews:
    """Builds the views of a camera and stores them, except those in which a detector finds a person."""

    def __init__(self, config: AnonymizeConfig, job: Job) -> None:
        self._config = config
        self._look = LookAgain(config.verify)

    def __call__(self, camera: SharedCamera) -> SharedCamera:
        """The camera, after its file of views was written."""
        if not Path(camera.views).is_file():
            views = [
                view
                for view in shared_plate.build_views(camera.observations, self._config.plate)
                if not len(self._look(filled(view, self._config.plate).color_HW3))
            ]
            shared_plate.save_views(camera.views, views)
        return camera


def cameras_of(
    items: Iterable[Item], plates: Path, observed: Mapping[str, Iterable[Path]]
) -> dict[str, SharedCamera]:
    """The cameras of `items` with a plate, by name.

    Args:
      items: undecided videos; donors have been observed.
      plates: the folder of plates.
      observed: observations of earlier runs, by camera.
    """
    known: dict[str, list[LocalPath]] = {}
    for item in items:
        if item.record.camera is not None:
            some = known.setdefault(item.record.camera, list(observed.get(item.record.camera, ())))
            if isinstance(item, Analyzed) and item.observation is not None:
                some.append(item.observation)
    cameras = {name: camera_of(plates, name, some) for name, some in known.items()}
    return {name: camera for name, camera in cameras.items() if camera is not None}


def with_views(item: Item, cameras: Mapping[str, SharedCamera]) -> Item:
    """The item, with the views of its camera if there are any."""
    camera = cameras.get(item.record.camera or "")
    return item if camera is None else dataclasses.replace(item, views=camera.views)


def _draw(record: VideoRecord) -> str:
    return hashlib.sha256(record.video_id.encode()).hexdigest()


def _short(text: str) -> str:
    """A hash of a text of any length and characters, as a part of a file name."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
