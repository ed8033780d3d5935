"""A run in one process: its checked settings, the open clip store, the model, the inputs.

A run is set up once in each process that takes part in it, and this setup is passed on, from the checks
before the first step to the files after the last.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from raymaskdp import config as configuration
from raymaskdp import models
from raymaskdp.errors import UserError
from raymaskdp.privacy.choices import MASKED
from raymaskdp.train.config import TrainConfig
from raymaskdp.train.data.batches import Inputs, PixelInputs
from raymaskdp.train.data.clips import records_of
from raymaskdp.train.data.splits import training_videos
from raymaskdp.train.data.store import ClipStore, absolute
from raymaskdp.train.device import CPU, device_here
from raymaskdp.train.features import cached_features
from raymaskdp.train.guarantee.earlier_runs import plans_before
from raymaskdp.train.run.identity import job_of, plan_of
from raymaskdp.train.run.job import TrainingJob


@dataclass(frozen=True, kw_only=True, eq=False)
class RunSetup:
    """A run in one process.

    Attributes:
      job: its settings, plan, identity and folder.
      store: its clip store, open.
      model: frozen according to the scheme. It has initial weights until the loop trains it, in place.
    """

    job: TrainingJob
    store: ClipStore
    model: nn.Module
    _opened: list[tuple[Inputs, nn.Module]] = field(default_factory=list, init=False, repr=False)

    @classmethod
    def of(cls, job: TrainingJob) -> RunSetup:
        """A run that another process has checked: it is not checked or calibrated again."""
        store = ClipStore.open(job.config.data)
        return cls(job=job, store=store, model=initial_model(job.config, store))

    def open_inputs(self, device: torch.device) -> tuple[Inputs, nn.Module]:
        """Where the run's views come from, and the module that is trained on them, on a device.

        Opened at the first call, where missing features are computed; later calls return the same.
        """
        if not self._opened:
            self._opened.append(open_inputs(self.job.config, self.store, self.model.to(device)))
        return self._opened[0]

    def cache_features(self) -> None:
        """Compute the features that the run will read, if any, so that later processes find them."""
        compute = self.job.config.compute
        workers = compute.most_workers
        # Ray's actors look for their own device.
        model = self.model.to(CPU if workers else device_here(compute.gpus))
        open_inputs(self.job.config, self.store, model, feature_workers=workers)


def set_up(config: TrainConfig) -> RunSetup:
    """Check all settings of a run against its data, and set it up in this process.

    Raises `UserError` for settings that are incompatible or do not fit the data.
    """
    # Converted to the annotated types, which `TrainConfig(...)` does not do; equal settings, equal run.
    config = configuration.build(TrainConfig, configuration.to_dict(config), where="the configuration")
    # Workers elsewhere and later commands start from other folders.
    config = replace(
        config,
        data=absolute(config.data),
        out=config.out.absolute(),
        init=None if config.init is None else config.init.absolute(),
    )
    store = ClipStore.open(config.data)
    plan = plan_of(config, store)
    plans_before(config, store)  # refuses weights that already reveal the data
    model = initial_model(config, store)
    return RunSetup(job=job_of(config, store, plan), store=store, model=model)


def initial_model(config: TrainConfig, store: ClipStore) -> nn.Module:
    """The model of a run before its first step, frozen according to the scheme."""
    clip = (config.clips.frames, *config.clips.size_in(store))
    if config.scheme == "scratch" and models.weight_files(config.model):
        raise UserError(
            "scheme=scratch starts from random weights, but the model is pretrained; use "
            "model.options.pretrained=false, or scheme=full."
        )
    model = models.build_model(config.model, clip=clip, num_classes=len(store.classes), seed=config.seed)
    if config.init is not None:
        models.load_backbone(config.init, model)
    models.apply_scheme(
        model,
        config.scheme,
        adapter_width=config.model.adapter_width,
        lora_rank=config.model.lora_rank,
        seed=config.seed,
    )
    if config.compute.checkpoint_activations:
        models.checkpoint_activations(model)
    return model


def open_inputs(
    config: TrainConfig, store: ClipStore, model: nn.Module, *, feature_workers: int = 0
) -> tuple[Inputs, nn.Module]:
    """The source of a run's views, and the trained module: features and the head, if only that learns.

    Missing features are computed by `feature_workers` actors, or here.
    """
    videos = training_videos(store, config)
    store.fetch(videos)
    records = records_of(videos, config.privacy.unit)
    if config.compute.cache_features and only_head_learns(model):
        # Both views, whatever the mechanism: runs of all mechanisms share them.
        pixels = PixelInputs(store, records, config.clips)
        features = cached_features(
            pixels, model, config.model, workers=feature_workers, gpus=config.compute.gpus
        )
        return features, HeadAlone(model)
    return PixelInputs(store, records, config.clips, config.privacy.mechanism in MASKED), model


class HeadAlone(nn.Module):
    """A model's head under its own name, for inputs that are features."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.head = model.get_submodule("head")

    def forward(self, features_BD: Tensor) -> Tensor:
        scores: Tensor = self.head(features_BD)
        return scores


def only_head_learns(model: nn.Module) -> bool:
    """Whether everything but the head is frozen."""
    return all(name.startswith("head.") for name, value in model.named_parameters() if value.requires_grad)
