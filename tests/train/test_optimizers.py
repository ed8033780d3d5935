"""Optimizers: the usual ones are torch's, and the noise-aware one knows its noise."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from raymaskdp.errors import UserError
from raymaskdp.train import OptimizerConfig
from raymaskdp.train.optimizers import NoiseAwareAdam, WeightAverage, make_optimizer


def run(optimizer: torch.optim.Optimizer, parameter: nn.Parameter, gradients: torch.Tensor) -> torch.Tensor:
    """The weights after a step for each gradient, [steps, ...]."""
    path = []
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
        path.append(parameter.detach().clone())
    return torch.stack(path)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize(
    ("name", "reference"),
    [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("dp-adam", torch.optim.AdamW)],
)
def test_without_noise_they_are_torch_s(name, reference, decay) -> None:
    gradients = torch.randn(20, 7, generator=torch.Generator().manual_seed(0))
    mine, its = (nn.Parameter(torch.ones(7)) for _ in range(2))
    config = OptimizerConfig(name=name, learning_rate=0.1, weight_decay=decay, variance_floor=1e-16)
    found = run(make_optimizer(config, {"a": mine}, noise_std=0.0), mine, gradients)
    wanted = run(reference([its], lr=0.1, weight_decay=decay), its, gradients)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


def test_the_noise_is_taken_out_of_the_second_moment() -> None:
    """Under noise ten times the gradient plain Adam is a rescaled SGD; the noise-aware one is not."""
    true = torch.tensor([0.1, -0.2, 0.4]).repeat_interleave(300)
    noise_std, steps, betas = 2.0, 1500, (0.99, 0.999)
    noisy = true + noise_std * torch.randn(steps, 900, generator=torch.Generator().manual_seed(1))
    mine, its = (nn.Parameter(torch.zeros(900)) for _ in range(2))
    optimizer = NoiseAwareAdam([mine], lr=1.0, noise_std=noise_std, floor=1e-2, betas=betas)
    aware = run(optimizer, mine, noisy)
    plain = run(torch.optim.Adam([its], lr=1.0, betas=betas), its, noisy)
    aware_step, plain_step = (((path[-1] - path[500]) / 999).view(3, 300).mean(1) for path in (aware, plain))
    values = true[::300]
    torch.testing.assert_close(plain_step, -values / (values**2 + 4).sqrt(), rtol=0.1, atol=0.01)
    assert (aware_step / plain_step > 3).all()
    second = optimizer.state[mine]["second"] / (1 - betas[1] ** steps) - noise_std**2
    torch.testing.assert_close(second.view(3, 300).mean(1), values**2, rtol=0, atol=0.03)


def test_averages_of_weights() -> None:
    weight = nn.Parameter(torch.zeros(3))
    average = WeightAverage(0.9, {"w": weight})
    expected = torch.zeros(3, dtype=torch.float64)
    for step in range(200):
        with torch.no_grad():
            weight += 1
        average.add(step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weight.detach().double()
    torch.testing.assert_close(average.values["w"].double(), expected, rtol=1e-4, atol=1e-4)
    assert 185 < float(average.values["w"][0]) < 195  # ten steps behind


@pytest.mark.parametrize("wrong", [{"average": 1.0}, {"variance_floor": 0.0}, {"average": -0.1}])
def test_wrong_settings(wrong) -> None:
    with pytest.raises(UserError, match=r"optimizer\."):
        OptimizerConfig(**wrong)
