"""Classifiers of transformers: the same features, from a folder; and what is said when there is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from support.backbones import HUB_CLIP, clips, hub_folder, hub_model

from raymaskdp.errors import UserError
from raymaskdp.models import (
    ModelConfig,
    apply_scheme,
    build_model,
    load_weights,
    save_weights,
    weight_files,
)
from raymaskdp.models.backbones.backbone import normalize

transformers = pytest.importorskip("transformers", exc_type=ImportError)
torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return hub_folder(tmp_path_factory.mktemp("hub"), "VideoMAE")


def build(path: Path | str, clip: tuple[int, int, int] = HUB_CLIP, **options: object) -> torch.nn.Module:
    config = ModelConfig(name="transformers", options={"path": str(path), **options})
    return build_model(config, clip=clip, num_classes=3, seed=0)


@pytest.mark.parametrize("kind", ["VideoMAE", "Vivit", "Timesformer"])
def test_scores_are_those_of_transformers(kind, tmp_path) -> None:
    hub_folder(tmp_path, kind)
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.3, 0.4, 0.5], "image_std": [0.2, 0.2, 0.3]})
    )
    theirs = transformers.AutoModelForVideoClassification.from_pretrained(tmp_path)
    ours = build(tmp_path)
    x = clips(2, HUB_CLIP)
    pixels = normalize(x, (0.3, 0.4, 0.5), (0.2, 0.2, 0.3)).transpose(1, 2)
    with torch.no_grad():
        expected = theirs(pixel_values=pixels).logits
        torch.testing.assert_close(theirs.classifier(ours.features(x)), expected)


def test_a_run_can_be_saved_and_loaded_with_what_was_put_in(folder, tmp_path) -> None:
    first, second = hub_model(folder), hub_model(folder, pretrained=False)
    for net in (first, second):
        apply_scheme(net, "adapter", adapter_width=3)
    adapted = [name for name, _ in first.named_modules() if name.endswith(".adapter")]
    assert len(adapted) == 2 * 2  # attention and perceptron of two blocks
    save_weights(tmp_path / "w.safetensors", first)
    load_weights(tmp_path / "w.safetensors", second)
    x = clips(2, HUB_CLIP)
    assert torch.equal(first(x), second(x))


@pytest.mark.parametrize(
    ("kind", "branches", "projections"),
    [("VideoMAE", 2, 3), ("Vivit", 2, 3), ("Timesformer", 3, 2)],  # the last attends in time and in space
)
def test_all_places_of_a_block_are_found(kind, branches, projections, tmp_path) -> None:
    hub_folder(tmp_path, kind)
    for scheme, places in (("adapter", branches), ("lora", projections)):
        net = hub_model(tmp_path)
        apply_scheme(net, scheme)
        found = [name for name, _ in net.named_modules() if name.endswith(f".{scheme}")]
        assert len(found) == 2 * places, found  # of two blocks


@pytest.mark.parametrize("pretrained", [True, False])
def test_weights_of_half_precision_become_single(folder, tmp_path, pretrained) -> None:
    theirs = transformers.AutoModelForVideoClassification.from_pretrained(folder).half()
    theirs.save_pretrained(tmp_path)
    net = build(tmp_path, pretrained=pretrained)
    assert {value.dtype for value in net.parameters()} == {torch.float32}


def test_the_weights_are_part_of_what_a_run_is(folder) -> None:
    config = ModelConfig(name="transformers", options={"path": str(folder)})
    assert [path.name for path in weight_files(config)] == ["model.safetensors"]
    drawn = ModelConfig(name="transformers", options={"path": str(folder), "pretrained": False})
    assert weight_files(drawn) == weight_files(ModelConfig()) == ()


def test_pickled_weights_are_refused(folder, tmp_path) -> None:
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    torch.save(build(folder).state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="cannot load a video classifier") as caught:
        build(tmp_path)
    assert "\n" not in str(caught.value)


def test_weights_of_another_model_are_named(folder, tmp_path) -> None:
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    save_weights(tmp_path / "model.safetensors", torch.nn.Linear(2, 2))
    with pytest.raises(UserError, match="they are of another model"):
        build(tmp_path)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/nowhere/at/all", "neither a folder nor a hub id"),
        ("raymaskdp-test/no-such-model", "Cannot get raymaskdp-test/no-such-model.*give a folder"),
    ],
)
def test_what_cannot_be_had_is_said_in_one_sentence(path, says, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=says) as caught:
        build(path)
    assert "\n" not in str(caught.value)


def test_clips_of_another_size_are_refused(folder, tmp_path) -> None:
    with pytest.raises(UserError, match="needs clips of 4 frames of 16 x 16 pixels"):
        build(folder, clip=(8, 16, 16))
    with pytest.raises(UserError, match=r"has no config\.json"):
        build(tmp_path)
