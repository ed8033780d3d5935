"""Weights of others: what is read, what is refused, and that nothing in them is run."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from support.backbones import clips, small
from torch import nn

from raymaskdp.errors import UserError
from raymaskdp.models import ModelConfig, apply_scheme, build_model, load_backbone, read_weights, register
from raymaskdp.models.backbones.backbone import Backbone, reset_head

torch.set_num_threads(1)


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.proof,)


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.bin", "w.pyth"])
@pytest.mark.parametrize("plain_pickle", [False, True])
def test_no_pickle_is_executed(name, plain_pickle, tmp_path) -> None:
    path, proof = tmp_path / name, tmp_path / "executed"
    evil = {"embed.weight": torch.zeros(2), "more": Evil(proof)}
    if plain_pickle:
        path.write_bytes(pickle.dumps(evil))
    else:
        torch.save(evil, path)
    with pytest.raises(UserError, match="refused"):
        read_weights(path)
    assert not proof.exists()
    pickle.loads(pickle.dumps(Evil(proof)))  # noqa: S301 — the trap is a trap
    assert proof.exists()


@pytest.mark.parametrize("wrapper", [None, "model_state", "state_dict", "model"])
def test_pytorch_files_are_read(wrapper, tmp_path) -> None:
    state = {"a.weight": torch.arange(3.0)}
    torch.save(state if wrapper is None else {wrapper: state, "epoch": 3}, tmp_path / "w.pth")
    assert torch.equal(read_weights(tmp_path / "w.pth")["a.weight"], torch.arange(3.0))


def test_files_that_are_no_weights_are_named(tmp_path) -> None:
    (tmp_path / "garbage.pth").write_bytes(b"\x00 no weights at all")
    (tmp_path / "empty.pth").write_bytes(b"")
    torch.save([torch.zeros(3)], tmp_path / "list.pth")
    torch.save({"a": torch.zeros(3), "epoch": 3}, tmp_path / "mixed.pth")
    for name in ("garbage", "empty", "list", "mixed", "missing"):
        with pytest.raises(UserError, match=rf"{name}\.pth") as caught:
            read_weights(tmp_path / f"{name}.pth")
        assert "\n" not in str(caught.value)


@dataclass(frozen=True, kw_only=True)
class NoOptions:
    """A model of one size."""


class Convolutional(Backbone):
    """A user's model, with BatchNorm."""

    def __init__(self, options: NoOptions, *, clip: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv3d(3, 6, 3), nn.BatchNorm3d(6), nn.ReLU())
        self.head = reset_head(6, num_classes)

    def features(self, clips_BCTHW: torch.Tensor) -> torch.Tensor:
        return self.body(clips_BCTHW).mean((2, 3, 4))


def test_batchnorm_is_refused_or_replaced(tmp_path) -> None:
    register("convolutional", NoOptions, Convolutional)
    size = {"clip": (4, 8, 8), "num_classes": 2, "seed": 0}
    with pytest.raises(UserError, match=r"'body\.1' is a BatchNorm3d.*model\.batchnorm=groupnorm"):
        build_model(ModelConfig(name="convolutional"), **size)
    net = build_model(ModelConfig(name="convolutional", batchnorm="groupnorm"), **size)
    norm = net.get_submodule("body.1")
    assert isinstance(norm, nn.GroupNorm)
    assert (norm.num_groups, norm.num_channels) == (2, 6)
    x = clips(3, (4, 8, 8))
    torch.testing.assert_close(net.features(x)[:1], net.features(x[:1]))
    with_batchnorm = Convolutional(NoOptions(), clip=(4, 8, 8), num_classes=9)
    nn.init.normal_(with_batchnorm.get_parameter("body.1.weight"))
    torch.save(with_batchnorm.state_dict(), tmp_path / "w.pth")
    load_backbone(tmp_path / "w.pth", net)  # its scales come along, what it remembers does not
    assert torch.equal(norm.weight, with_batchnorm.get_parameter("body.1.weight"))
    assert apply_scheme(net, "selective") == 12 + 14


def test_weights_of_another_model_are_named(tmp_path) -> None:
    torch.save(small("vit-s-16").state_dict(), tmp_path / "w.pth")
    with pytest.raises(UserError, match="they are of another model"):
        load_backbone(tmp_path / "w.pth", small("mvit-b-16x4"))
