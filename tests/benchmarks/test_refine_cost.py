"""All ways to save memory refine alike, so that their costs can be compared."""

import dataclasses
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from raymaskdp.benchmarks.diffusion import tiny_diffusion
from raymaskdp.benchmarks.diffusion.refine_cost import make
from raymaskdp.benchmarks.settings.avatars import RefineCostConfig, WayName
from raymaskdp.errors import UserError


def test_every_way_makes_the_same_pictures(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    named = tiny_diffusion.sd15(tmp_path, dataclasses.replace(tiny_diffusion.TINY, tile=64))
    spec = {"named": named, "side": 64, "batch": 2, "steps": 2, "device": "cpu"}
    ways = [way for way in get_args(WayName) if way != "compiled"]  # it takes minutes to compile
    usual, sliced, whole, alone = (make({**spec, "way": way})() for way in ways)
    assert usual.shape == (2, 64, 64, 3)
    np.testing.assert_allclose(whole, usual, atol=1e-4)
    np.testing.assert_allclose(sliced, alone, atol=1e-4)
    assert np.abs(alone - usual).max() > 1e-3


def test_real_networks_are_as_large_as_they_are_said_to_be() -> None:
    """Stable Diffusion 1.5's U-Net has 860 million weights, XL's 2.6 billion (the model cards)."""
    with torch.device("meta"):
        sizes = [
            sum(weight.numel() for weight in tiny_diffusion.unet(shape, **more).parameters())
            for shape, more in (
                (tiny_diffusion.REAL["sd15-depth"], {}),
                (tiny_diffusion.REAL["sdxl-depth"], tiny_diffusion.size_words(1280)),
            )
        ]
    assert sizes == [pytest.approx(860e6, rel=0.01), pytest.approx(2.57e9, rel=0.01)]


def test_what_is_unknown_is_refused() -> None:
    with pytest.raises(UserError, match="ways"):
        RefineCostConfig(ways=("faster",))
