"""Features of frozen backbones: the same by every way, found again, and never another's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.changes import changed
from torch import nn
from torch.nn import functional

from raymaskdp.errors import UserError
from raymaskdp.models import ModelConfig
from raymaskdp.privacy import Key
from raymaskdp.train import ClipStore, TrainConfig, train
from raymaskdp.train.data.batches import PixelInputs
from raymaskdp.train.data.clips import records_of
from raymaskdp.train.features import _FeatureStage, cached_features, features_path
from raymaskdp.train.run.setup import initial_model

KEY = Key(secret=bytes(range(32)))
MVIT = ModelConfig(name="mvit-b-16x4", options={"width": 6, "depth": 3, "stages": [1], "key_stride": 2})


@pytest.fixture
def linear(base) -> TrainConfig:
    """A run on features alone, with several clips a video in a step and several workers."""
    return changed(base, scheme="linear", steps=8, privacy__clips=3)


def weights(run: str) -> dict[str, torch.Tensor]:
    return load_file(Path(run) / "model.safetensors")


@pytest.mark.parametrize("mechanism", ["maskdp", "multiclip", "dpsgd", "sgd"])
def test_a_run_on_features_equals_one_on_pixels(linear, tmp_path, mechanism) -> None:
    noise = None if mechanism == "sgd" else 1.0
    linear = changed(linear, model=MVIT, privacy__mechanism=mechanism, privacy__noise_multiplier=noise)
    cached = train(changed(linear, out=tmp_path / "cached"), key=KEY)
    computed = train(changed(linear, out=tmp_path / "computed", compute__cache_features=False), key=KEY)
    first, second = weights(cached.run), weights(computed.run)
    assert float(first["head.weight"].abs().max()) > 1e-3
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.cluster
def test_ray_data_computes_the_same_features(ray_session, linear) -> None:
    store = ClipStore.open(linear.data)
    records = records_of(store.split("train"), "video")
    model = initial_model(changed(linear, model=MVIT, seed=7), store)
    pixels = PixelInputs(store, records, linear.clips)
    path = features_path(pixels, model, MVIT)
    banks = []
    for workers in (0, 2):
        path.unlink(missing_ok=True)
        cached_features(pixels, model, MVIT, workers=workers)
        banks.append({name: value.clone() for name, value in load_file(path).items()})
    alone, on_ray = banks
    assert len(alone["full"]) == len(records) == 18
    assert alone.keys() == on_ray.keys()
    for name, value in alone.items():
        torch.testing.assert_close(on_ray[name], value, rtol=1e-5, atol=1e-6)
    assert torch.equal(on_ray["labels"], alone["labels"])


def test_trials_share_features_and_nothing_else_does(linear, store_path) -> None:
    def path_of(config: TrainConfig) -> Path:
        store = ClipStore.open(config.data)
        pixels = PixelInputs(store, records_of(store.split(config.split), "video"), config.clips)
        return features_path(pixels, initial_model(config, store), config.model)

    own = path_of(linear)
    assert path_of(changed(linear, privacy__clipping_norm=9.0, privacy__mechanism="multiclip")) == own
    assert path_of(changed(linear, optimizer__learning_rate=9.0, privacy__clips=1)) == own
    options = linear.model.options
    others = [
        changed(linear, seed=1),
        changed(linear, split="test"),
        changed(linear, clips__stride=1),
        changed(linear, model__options={**options, "depth": 2}),
        changed(linear, model__options={**options, "motion": True}),  # the same weights
    ]
    assert len({own, *map(path_of, others)}) == 1 + len(others)


def test_another_order_of_the_classes_is_other_features(linear, store_path) -> None:
    """They hold labels as positions in the list of classes."""
    store = ClipStore.open(store_path)
    records = records_of(store.split("train"), "video")
    model = initial_model(linear, store)
    turned = replace(store, declared=tuple(reversed(store.classes)))
    paths = {
        features_path(PixelInputs(one, records, linear.clips), model, linear.model) for one in (store, turned)
    }
    assert len(paths) == 2


def test_features_are_computed_once(linear, monkeypatch) -> None:
    linear = changed(linear, seed=11)
    train(linear)
    monkeypatch.setattr("raymaskdp.train.features.features_of", None)  # would fail if it were called
    train(changed(linear, privacy__clipping_norm=0.5))


class Backbone(nn.Module):
    """Mean colours of a clip; subclasses keep something of the clips that have passed."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(3, 8), nn.Linear(8, 5)

    def colours(self, clips: torch.Tensor) -> torch.Tensor:
        return clips.mean((2, 3, 4))

    def features(self, clips: torch.Tensor) -> torch.Tensor:
        return self.stem(self.colours(clips))

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(clips))


class Centred(Backbone):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(3))

    def features(self, clips: torch.Tensor) -> torch.Tensor:
        colours = self.colours(clips)
        self.centre.mul_(0.9).add_(0.1 * colours.mean(0))
        return self.stem(colours - self.centre)


class OverTheBatch(Backbone):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(8))
        self.register_buffer("variance", torch.ones(8))

    def features(self, clips: torch.Tensor) -> torch.Tensor:
        return functional.batch_norm(super().features(clips), self.mean, self.variance, training=True)


class Remembering(Backbone):
    last: torch.Tensor | float = 0.0

    def features(self, clips: torch.Tensor) -> torch.Tensor:
        colours = self.colours(clips)
        before, self.last = self.last, colours.mean(0).detach()
        return self.stem(colours - before)


class AfterItsTest(Backbone):
    """What is tested has no state, and the features have."""

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return self.head(self.stem(self.colours(clips)))


class Moving(AfterItsTest):
    def features(self, clips: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            self.stem.bias += 1e-3 * self.colours(clips).mean()
        return super().features(clips)


class Keeping(AfterItsTest, Remembering):
    pass


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (Centred, r"gives other results|buffer 'centre' of the model changes"),
        (OverTheBatch, r"buffer 'mean' of the model changes|Records do not stay apart"),
        (Remembering, "gives other results for the same inputs"),
        (Moving, r"'stem\.bias' of the backbone changes while features are computed"),
        (Keeping, "other features after another record has passed"),
    ],
)
def test_a_backbone_with_state_is_refused(linear, tmp_path, kind, says) -> None:
    store = ClipStore.open(linear.data)
    pixels = PixelInputs(store, records_of(store.split("train"), "video"), linear.clips)
    torch.manual_seed(0)
    model = kind()
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    with pytest.raises(UserError, match=says):
        cached_features(pixels, model, linear.model)
    assert not features_path(pixels, model, linear.model).exists()
    assert all(torch.equal(value, buffers[name]) for name, value in model.named_buffers())


class Late(AfterItsTest):
    """Keeps something that counts from the sixth record on."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.passes = torch.zeros(3), 0

    def features(self, clips: torch.Tensor) -> torch.Tensor:
        colours = self.colours(clips)
        self.passes += 1
        before, self.last = self.last, colours.mean(0).detach()
        return self.stem(colours - before if self.passes > 12 else colours)


def test_a_worker_compares_the_first_record_again_after_many(linear) -> None:
    store = ClipStore.open(linear.data)
    pixels = PixelInputs(store, records_of(store.split("train"), "video"), linear.clips)
    stage = _FeatureStage(pixels, Late(), 0.0)

    def compute() -> None:
        for record in range(len(pixels.records)):
            stage({"name": record})

    with pytest.raises(UserError, match="other features after another record has passed"):
        compute()


def test_a_backbone_without_state_keeps_what_is_published(linear) -> None:
    store = ClipStore.open(linear.data)
    pixels = PixelInputs(store, records_of(store.split("train"), "video"), linear.clips)
    model = Backbone()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    features = cached_features(pixels, model, linear.model)
    assert features.bank.full.shape[0] == len(pixels.records)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
