"""The video transformer, schemes and weights."""

from __future__ import annotations

import pytest
import torch

from raymaskdp.errors import UserError
from raymaskdp.models import (
    ModelConfig,
    apply_scheme,
    build_model,
    load_backbone,
    load_weights,
    register,
    save_weights,
)
from raymaskdp.models.backbones.video_transformer import VideoTransformer, VideoTransformerConfig, tubelets

torch.set_num_threads(1)
CLIP = (4, 16, 24)


def model(*, seed: int = 0, num_classes: int = 5, **options: object) -> torch.nn.Module:
    options = {"width": 16, "depth": 2, "heads": 2, "tubelet": [2, 8, 8], **options}
    return build_model(ModelConfig(options=options), clip=CLIP, num_classes=num_classes, seed=seed)


def clips(count: int) -> torch.Tensor:
    return torch.randn(count, 3, *CLIP, generator=torch.Generator().manual_seed(1))


def test_tubelets_are_boxes_of_pixels_in_order() -> None:
    x = clips(2)
    cut = tubelets(x, (2, 8, 8))
    assert cut.shape == (2, 2 * 2 * 3, 3 * 2 * 8 * 8)
    token = 1 * (2 * 3) + 0 * 3 + 2  # second in time, first row, third column
    assert torch.equal(cut[1, token], x[1, :, 2:4, 0:8, 16:24].flatten())


def test_a_clip_is_scored_alone() -> None:
    x, net = clips(4), model()
    torch.nn.init.normal_(net.get_parameter("head.weight"))
    together = net(x)
    alone = torch.cat([net(x[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(together, alone)


def test_forward_is_head_of_features_and_starts_undecided() -> None:
    net = model()
    assert net.features(clips(3)).shape == (3, 16)
    assert torch.equal(net(clips(3)), torch.zeros(3, 5))


def test_weights_come_from_the_seed_and_leave_the_global_generator() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first, second, other = model(seed=3), model(seed=3), model(seed=4)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.embed.weight, second.embed.weight)
    assert not torch.equal(first.embed.weight, other.embed.weight)


def test_schemes_train_what_they_say() -> None:
    net = model()
    head = 16 * 5 + 5
    norms = (2 * 2 + 1) * 2 * 16
    everything = sum(p.numel() for p in net.parameters())
    biases = sum(p.numel() for name, p in net.named_parameters() if name.endswith("bias"))
    assert apply_scheme(net, "linear") == head
    assert apply_scheme(net, "selective") == head + norms
    assert apply_scheme(net, "bitfit") == biases + 16 * 5
    assert apply_scheme(net, "full") == everything
    apply_scheme(net, "selective")
    learning = {name for name, p in net.named_parameters() if p.requires_grad}
    assert all(name.startswith("head.") or "norm" in name for name in learning)
    with pytest.raises(UserError, match="scheme must be one of"):
        apply_scheme(net, "everything")


def test_backbone_moves_to_another_number_of_classes(tmp_path) -> None:
    old, new = model(seed=1, num_classes=5), model(seed=2, num_classes=3)
    save_weights(tmp_path / "w.safetensors", old)
    load_backbone(tmp_path / "w.safetensors", new)
    assert torch.equal(old.features(clips(2)), new.features(clips(2)))
    assert new(clips(2)).shape == (2, 3)
    with pytest.raises(UserError, match=r"head\.weight.*shape \(5, 16\)"):
        load_weights(tmp_path / "w.safetensors", new)


def test_weights_that_do_not_fit_are_refused_in_one_sentence(tmp_path) -> None:
    save_weights(tmp_path / "w.safetensors", model(depth=3))
    with pytest.raises(UserError, match="unknown"):
        load_weights(tmp_path / "w.safetensors", model())
    with pytest.raises(UserError, match="Cannot read"):
        load_weights(tmp_path / "missing.safetensors", model())
    (tmp_path / "bad.safetensors").write_bytes(b"no weights at all")
    with pytest.raises(UserError, match="Cannot read"):
        load_weights(tmp_path / "bad.safetensors", model())


def test_options_are_checked() -> None:
    with pytest.raises(UserError, match="multiple of the tubelet"):
        model(tubelet=[3, 8, 8])
    with pytest.raises(UserError, match=r"multiple of model\.heads"):
        model(heads=3)
    with pytest.raises(UserError, match=r"Unknown setting 'widht'.*did you mean 'width'"):
        model(widht=3)
    with pytest.raises(UserError, match=r"model\.name must be one of"):
        ModelConfig(name="resnet-9000")


def test_a_model_can_be_registered() -> None:
    class Wide(VideoTransformer):
        pass

    register("wide", VideoTransformerConfig, Wide)
    net = build_model(ModelConfig(name="wide", options={"width": 32}), clip=(2, 8, 8), num_classes=2, seed=0)
    assert isinstance(net, Wide)
