"""Features of a frozen backbone: of every clip of every record, computed once and stored beside the store.

They are keyed by the store, the backbone's weights, the records and the settings of clips, so runs with
other heads, mechanisms and budgets share them: the trials of a sweep, for instance. With workers they are
computed by Ray Data.

A backbone with state would put other records into a record's features, and into the published model. So
before features are computed the whole model is tested as in a step without them, and while they are computed
its parameters and buffers must not change, nor the features of the first record after others have passed;
with workers, after 1, 3, 7, 15… others in each of them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, load_file, save, save_file
from torch import Tensor, nn
from tqdm import tqdm

from raymaskdp import places, storage
from raymaskdp.distributed.map_rows import map_rows
from raymaskdp.distributed.pools import Needs, WorkerPool
from raymaskdp.errors import UserError
from raymaskdp.files import atomic_path
from raymaskdp.models import ModelConfig
from raymaskdp.privacy.per_record.record_independence import ADVICE, prove_apart, same
from raymaskdp.train.data.batches import FeatureInputs, PixelInputs, Views
from raymaskdp.train.device import device_here

VERSION = 4
BATCH = 64
"""Clips per batch of the backbone."""
PROVEN = 4
"""Records of the batch on which the model is tested before features are computed."""


def cached_features(
    pixels: PixelInputs, model: nn.Module, config: ModelConfig, *, workers: int = 0, gpus: float = 0.0
) -> FeatureInputs:
    """The backbone's features of `pixels`: from the store's `features` folder, or computed now.

    `config` is what the model was built from. `workers` actors of Ray Data compute them, each with the share
    `gpus` of a GPU, or with 0 workers this process, where the model is; the values are the same. They are
    as private as the clips that they come from.
    """
    path = features_path(pixels, model, config)
    url = pixels.store.url and places.join(pixels.store.url, f"features/{path.name}")
    if url and not path.is_file() and storage.version(url) is not None:
        with storage.local_copy(url) as copy, atomic_path(path, ours=True) as temporary:
            shutil.copyfile(copy, temporary)
    if not path.is_file():
        _prove(pixels, model)
        parts = _on_ray(pixels, model, workers, gpus) if workers else _in_process(pixels, model)
        of_record = dict(tqdm(parts, "features", len(pixels.records), unit="record", leave=False))
        lost = len(pixels.records) - len(of_record)
        if lost:  # Ray Data does not list rows that were lost with a worker
            raise UserError(f"The features of {lost} records were lost with their worker; run it again.")
        names = of_record[0]
        bank = {name: torch.cat([of_record[n][name] for n in range(len(of_record))]) for name in names}
        with atomic_path(path, ours=True) as temporary:
            save_file(bank, temporary)
        if url:
            storage.publish(path, url)
    return FeatureInputs(Views(**load_file(path)))


def features_path(pixels: PixelInputs, model: nn.Module, config: ModelConfig) -> Path:
    """The file of the features; it differs for all settings that lead to other features."""
    digest = hashlib.sha256()
    names = [record.name for record in pixels.records]
    # Weights are not enough: the preprocessing of pixels is an option, for example.
    options = {"name": config.name, "options": config.options, "batchnorm": config.batchnorm}
    # Labels are stored as positions in the list of classes.
    content = [pixels.store.fingerprint, pixels.store.classes]
    about = [VERSION, content, asdict(pixels.config), names, options]
    digest.update(json.dumps(about, sort_keys=True).encode())
    for name, value in model.state_dict().items():
        if not name.startswith("head."):
            digest.update(name.encode() + value.cpu().numpy().tobytes())
    return pixels.store.path / "features" / f"{digest.hexdigest()[:32]}.safetensors"


@torch.no_grad()
def features_of(record: int, pixels: PixelInputs, model: nn.Module) -> dict[str, Tensor]:
    """Both views of all clips of one record, as the fields of `Views`, N = 1."""
    views = pixels.read(np.array([record]), np.arange(pixels.config.numbers)[None])
    full, public = (_in_batches(model, clips_NK[0])[None] for clips_NK in (views.full, views.public))
    return {**vars(views), "full": full, "public": public}


def _in_batches(model: nn.Module, clips_B: Tensor) -> Tensor:
    device = next(model.parameters()).device
    parts = [model.features(part.to(device)) for part in clips_B.split(BATCH)]  # type: ignore[operator]
    return torch.cat(parts).cpu()


def _in_process(pixels: PixelInputs, model: nn.Module) -> Iterator[tuple[int, dict[str, Tensor]]]:
    with _evaluating(model):
        stateless = _Stateless(pixels, model)
        for record in range(len(pixels.records)):
            yield record, stateless.features_of(record)
        stateless.compare()


def _on_ray(
    pixels: PixelInputs, model: nn.Module, workers: int, gpus: float
) -> Iterator[tuple[int, dict[str, Tensor]]]:
    rows = [{"name": record} for record in range(len(pixels.records))]
    needs = Needs(workers=workers, gpus=gpus)
    pool = WorkerPool(stage=_FeatureStage, arguments=(pixels, model, gpus), needs=needs)
    with _evaluating(model):
        for row in map_rows(rows, [pool]):
            yield row["name"], load(row["features"])


class _FeatureStage:
    """A backbone in an actor: a record's number in, its features as safetensors bytes out."""

    def __init__(self, pixels: PixelInputs, model: nn.Module, gpus: float) -> None:
        pixels.store.fetch([video for record in pixels.records for video in record.videos])
        self._stateless = _Stateless(pixels, model.to(device_here(gpus)))

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"features": save(self._stateless.features_of(row["name"]))}


def _prove(pixels: PixelInputs, model: nn.Module) -> None:
    """Raise `UserError`, naming the module, unless the whole model keeps some records apart."""
    records = np.arange(min(PROVEN, len(pixels.records)))
    clips_NK = pixels.read(records, np.zeros((len(records), 1), dtype=np.int64)).full
    device = next(model.parameters()).device
    with _evaluating(model):
        prove_apart(model, (clips_NK.flatten(0, 1).to(device),), {}, records=len(records))


class _Stateless:
    """A backbone that is compared with what it was after every record. Raises `UserError` if it changes."""

    def __init__(self, pixels: PixelInputs, model: nn.Module) -> None:
        self._pixels, self._model = pixels, model
        self._state = {name: value.detach().clone() for name, value in _values(model)}
        self._first: tuple[int, Tensor] | None = None
        self._passed = 0

    def features_of(self, record: int) -> dict[str, Tensor]:
        """As the function of this name; the first record's are computed again after 1, 3, 7… others."""
        found = features_of(record, self._pixels, self._model)
        for name, value in _values(self._model):
            if not same(value, self._state[name], exact=True):
                raise UserError(
                    f"{name!r} of the backbone changes while features are computed, so the features and the "
                    f"published model would tell of other records without noise; {ADVICE}."
                )
        self._passed += 1
        if self._first is None:
            self._first = record, found["full"]
        elif not self._passed & (self._passed - 1):  # a power of two
            self.compare()
        return found

    def compare(self) -> None:
        """Compute the first record's features again."""
        if self._first is None:
            return
        record, before = self._first
        again = features_of(record, self._pixels, self._model)["full"]
        on_cpu = next(self._model.parameters()).device.type == "cpu"
        if not same(again, before, exact=on_cpu):
            raise UserError(
                "The backbone gives a record other features after another record has passed, so they would "
                f"tell of other records; {ADVICE}, and keep no state in the module."
            )


def _values(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode, restored afterwards."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
