"""Whole runs of other backbones: trained, saved with what was put in, measured."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.changes import changed

from raymaskdp.errors import UserError
from raymaskdp.models import ModelConfig
from raymaskdp.privacy import Key
from raymaskdp.train import evaluate, train
from raymaskdp.train.run.setup import set_up

KEY = Key(secret=bytes(range(32)))
MVIT = {"width": 6, "depth": 3, "stages": [1], "key_stride": 2}


def weights(run: str) -> dict[str, torch.Tensor]:
    return load_file(Path(run) / "model.safetensors")


@pytest.mark.parametrize("scheme", ["adapter", "lora"])
def test_a_run_leaves_what_it_put_in_and_can_be_measured(base, scheme) -> None:
    base = changed(base, scheme=scheme, steps=2, model=ModelConfig(name="mvit-b-16x4", options=MVIT))
    run = train(base, key=KEY)
    left = weights(run.run)
    put_in = {name: value for name, value in left.items() if f".{scheme}." in name}
    head = left["head.weight"].numel() + left["head.bias"].numel()
    assert run.trainable == head + sum(value.numel() for value in put_in.values())
    assert f"{run.trainable} trained parameters ({scheme})" in str(run)
    assert evaluate(run.run).videos == 9


def test_dropping_activations_changes_nothing(base, tmp_path) -> None:
    base = changed(base, steps=2, model=ModelConfig(name="mvit-b-16x4", options=MVIT))
    kept = train(changed(base, out=tmp_path / "kept"), key=KEY)
    dropped = train(changed(base, out=tmp_path / "dropped", compute__checkpoint_activations=True), key=KEY)
    assert Path(kept.run).name == Path(dropped.run).name  # it is no part of what a run is
    for name, value in weights(kept.run).items():
        torch.testing.assert_close(weights(dropped.run)[name], value)


def test_a_classifier_of_transformers_trains_from_its_folder(base, tmp_path) -> None:
    transformers = pytest.importorskip("transformers", exc_type=ImportError)
    settings = transformers.VideoMAEConfig(
        image_size=[24, 32], patch_size=8, num_frames=4, hidden_size=8, num_hidden_layers=1,
        num_attention_heads=2, intermediate_size=16,
    )  # fmt: skip
    folder = tmp_path / "videomae"
    transformers.VideoMAEForVideoClassification(settings).save_pretrained(folder)
    model = ModelConfig(name="transformers", options={"path": str(folder)})
    base = changed(base, scheme="selective", steps=2, model=model)
    run = train(base, key=KEY)
    assert evaluate(run.run).videos == 9
    before = load_file(folder / "model.safetensors")["videomae.embeddings.patch_embeddings.projection.weight"]
    after = weights(run.run)["network.videomae.embeddings.patch_embeddings.projection.weight"]
    assert torch.equal(before, after)  # its weights were taken, and stayed frozen
    digest = set_up(base).job.identity.run
    torch.manual_seed(1)
    transformers.VideoMAEForVideoClassification(settings).save_pretrained(folder)
    assert set_up(base).job.identity.run != digest  # other weights, another run
    with pytest.raises(UserError, match="scratch starts from random weights, but the model is pretrained"):
        set_up(changed(base, scheme="scratch"))
