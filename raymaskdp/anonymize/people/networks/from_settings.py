"""The networks that settings name, by role."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from raymaskdp.anonymize.people.config import PoseConfig
from raymaskdp.anonymize.people.networks.device import device_for
from raymaskdp.anonymize.people.networks.hub.detector import HubDetector
from raymaskdp.anonymize.people.networks.hub.folder import ModelFolder, model_folder
from raymaskdp.anonymize.people.networks.hub.keypoints import HubKeypoints
from raymaskdp.anonymize.people.networks.hub.masks import HubMasks
from raymaskdp.anonymize.people.networks.roles import BoxNetwork, MaskNetwork, PointNetwork

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, eq=False)
class ConfiguredNetworks:
    """The configured networks; None for a role that settings leave empty.

    Attributes:
      detector: replaces NanoDet.
      points, masks: supplement the landmark network and the segmenter.
      batch: frames in one batch of the last two; 1 if there are none.
    """

    detector: BoxNetwork | None
    points: PointNetwork | None
    masks: MaskNetwork | None
    batch: int


def configured_networks(config: PoseConfig, gpus: float = 0.0) -> ConfiguredNetworks:
    """The networks that a configuration names, loaded.

    Args:
      gpus: share of a GPU that the worker holds; 0 for the CPU.

    Raises `UserError` if a network is missing or of the wrong kind, or if there is no GPU although `gpus` is
    positive.
    """
    named = (config.detector, config.keypoints, config.masks)
    device = device_for(gpus) if any(named) else torch.device("cpu")

    def opened(name: str, place: str | None, kind: Callable[[ModelFolder], T]) -> T | None:
        return None if place is None else kind(model_folder(f"pose.{name}", place))

    batch = config.batch
    points = opened("keypoints", config.keypoints, lambda of: HubKeypoints(of, device, batch=batch))
    masks = opened("masks", config.masks, lambda of: HubMasks(of, device, batch=batch))
    return ConfiguredNetworks(
        detector=opened("detector", config.detector, lambda of: HubDetector(of, device, batch=batch)),
        points=points,
        masks=masks,
        batch=batch if points or masks else 1,
    )
