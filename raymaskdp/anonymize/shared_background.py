"""Videos of one fixed camera share what is behind their people: the donors, and the two stages.

Some videos of a camera (`PlateConfig.shared_videos`), its donors, are analyzed first and *observed*. From
what they show, the camera's views are built, once. Then the donors are finished, and all other videos of the
camera go straight through. What is kept is in a private folder and named by content: by the digests of
sources and settings. So a run after one that was killed uses the same plates, and a run with nothing to do
touches none. Which videos of the same camera other runs had plays no role.
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
from raymaskdp.anonymize.stages import Job, run_item
from raymaskdp.anonymize.verify.look_again import LookAgain
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.places import LocalPath


@dataclass(frozen=True, kw_only=True)
class SharedCamera:
    """A camera whose plate is to be built.

    Attributes:
      name: as the manifest has it.
      observations: files of its observed videos, in a fixed order.
      views: the file to write.
    """

    name: str
    observations: tuple[str, ...]
    views: str


def donors(records: Iterable[VideoRecord], most: int) -> dict[str, tuple[VideoRecord, ...]]:
    """The videos that each camera's plate is made of, by camera; none for a camera with a single video.

    Where there are more than `most`, a digest of the name chooses: neighbours on the list often show the
    same person at the same spot.
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
    """Where the observation of a video lies."""
    return plates / f"{_short(camera)}-{source_sha256[:24]}-{config_sha256[:16]}.npz"


def camera_of(plates: Path, name: str, observations: Iterable[LocalPath]) -> SharedCamera | None:
    """The camera whose plate is made of those observations that are there; None for fewer than two."""
    there = sorted({Path(path) for path in observations if Path(path).is_file()})
    if len(there) < 2:
        return None
    digest = hashlib.sha256("\n".join(path.name for path in there).encode()).hexdigest()
    views = plates / f"{_short(name)}-views-{digest[:24]}.npz"
    return SharedCamera(name=name, observations=tuple(map(str, there)), views=str(views))


class Observe:
    """Keeps what an analyzed video shows of its background, and puts the analysis aside."""

    def __init__(self, config: AnonymizeConfig, job: Job) -> None:
        self._config = config
        self._config_sha256 = config.digest()
        self._job = job

    def __call__(self, item: Item) -> Item:
        """An analyzed video that shares its background, now with its observation; any other as it is."""
        if not isinstance(item, Analyzed) or item.shares is None:
            return item
        return run_item(functools.partial(self._observe, item.shares), item)

    def _observe(self, shares: BackgroundSharing, item: Analyzed) -> Analyzed:
        path = observation_path(shares.plates, shares.camera, item.source_sha256, self._config_sha256)
        packed = item.packed()
        scene = Scene.unpack(packed)
        # Where nobody was found, somebody may have been missed in every frame: no background for others.
        if scene.visible_PT.any() and not path.is_file():
            masks_TB = scene.everybody(self._config.composite.margin * item.info.height)
            observe(item.source, item.info, masks_TB, self._config.plate).save(path)
        found = str(path) if path.is_file() else None
        aside = self._job.work / f"{item.record.video_id}.analysis"
        aside.write_bytes(packed)
        return dataclasses.replace(item, analysis=aside, observation=found)


class BuildViews:
    """Builds the views of a camera and writes them down; those in which a detector finds somebody are not."""

    def __init__(self, config: AnonymizeConfig, job: Job) -> None:
        self._config = config
        self._look = LookAgain(config.verify)

    def __call__(self, camera: SharedCamera) -> SharedCamera:
        """The camera, whose file of views is there now."""
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
    """The cameras of `items` that have a plate, by name.

    Args:
      items: videos that are not decided yet; donors have been observed.
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
    """The item, with the views of its camera where there are any."""
    camera = cameras.get(item.record.camera or "")
    return item if camera is None else dataclasses.replace(item, views=camera.views)


def _draw(record: VideoRecord) -> str:
    return hashlib.sha256(record.video_id.encode()).hexdigest()


def _short(text: str) -> str:
    """A name of any length and letters as a part of a file's name."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
