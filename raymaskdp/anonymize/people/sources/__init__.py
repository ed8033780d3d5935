"""Sources of poses, by name: networks that process the video, or the skeleton files of a data set.

>>> people = pose_source(PoseConfig(source="ntu", skeletons=folder))(frames, info, record)  # doctest: +SKIP

A source of your own is a callable `PoseConfig → PoseSource`, named by an entry point of your package:

    [project.entry-points."raymaskdp.pose_sources"]
    mocap = "mypackage.mocap:source"

Most sources are three lines around `FromFiles`, which adds masks, gaps and doubts to plain points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import numpy as np

from raymaskdp.anonymize.people.config import SOURCE_NAMES, PoseConfig, check_source
from raymaskdp.anonymize.people.finder import FindPeople
from raymaskdp.anonymize.people.people import People
from raymaskdp.anonymize.people.sources import ntu, smarthome, smpl
from raymaskdp.anonymize.people.sources.skeletons import FromFiles
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.errors import UserError
from raymaskdp.extensions import Registry
from raymaskdp.video.reader import VideoInfo


class PoseSource(Protocol):
    """Returns the people of a video."""

    def __call__(self, frames: Iterable[np.ndarray], info: VideoInfo, record: VideoRecord) -> People:
        """The people of one video.

        Args:
          frames: uint8 RGB [H, W, 3] each; iterated any number of times.
          info: size, rate and length of the video.
          record: the video's row of the manifest.

        Raises `UserError` if there are no poses for it.
        """


class _Networks:
    """The networks that process the frames."""

    def __init__(self, config: PoseConfig, gpus: float) -> None:
        self._find = FindPeople(config, gpus)

    def __call__(self, frames: Iterable[np.ndarray], info: VideoInfo, record: VideoRecord) -> People:
        return self._find(frames, info)


SOURCES: Registry[Callable[[PoseConfig, float], PoseSource]] = Registry(
    SOURCE_NAMES,
    {
        "mediapipe": _Networks,
        "ntu": lambda config, gpus: FromFiles(config, ntu.read, gpus),
        "smarthome": lambda config, gpus: FromFiles(config, smarthome.read, gpus),
        "smpl": lambda config, gpus: FromFiles(config, smpl.read, gpus),
    },
    what="function of a PoseConfig",
    is_one=callable,
    adapt=lambda source: lambda config, gpus: source(config),
)
"""All sources; each takes the settings and the share of a GPU that its worker holds."""


def pose_source(config: PoseConfig, gpus: float = 0.0) -> PoseSource:
    """The source that a configuration names.

    Args:
      gpus: share of a GPU that the worker holds, for networks that settings name; 0 for the CPU.

    Raises `UserError` as `check_source` and `configured_networks` do.
    """
    check_source(config)
    if config.skeletons is not None and not config.skeletons.is_dir():
        raise UserError(f"The folder of skeletons {config.skeletons} does not exist.")
    return SOURCES[config.source](config, gpus)
