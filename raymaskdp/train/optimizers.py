"""Optimizers: new weights from private updates only, which is post-processing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from raymaskdp.train.config import OptimizerConfig


def make_optimizer(
    config: OptimizerConfig, trainable: Mapping[str, nn.Parameter], *, noise_std: float
) -> torch.optim.Optimizer:
    """The optimizer of a run whose updates have noise of this standard deviation in every coordinate."""
    parameters = list(trainable.values())
    rate, decay = config.learning_rate, config.weight_decay
    if config.name == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=config.momentum, weight_decay=decay)
    if config.name == "adam":
        return torch.optim.Adam(parameters, lr=rate, weight_decay=decay)
    if config.name == "adamw":
        return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay)
    return NoiseAwareAdam(
        parameters, lr=rate, weight_decay=decay, noise_std=noise_std, floor=config.variance_floor
    )


def set_learning_rate(
    optimizer: torch.optim.Optimizer, config: OptimizerConfig, step: int, steps: int
) -> None:
    """The schedule, a function of the step alone, so that a resumed run continues as it was."""
    scale = min((step + 1) / (config.warmup + 1), 1.0)
    if config.schedule == "cosine":
        scale *= 0.5 * (1 + math.cos(math.pi * step / steps))
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * scale


class NoiseAwareAdam(torch.optim.Optimizer):
    """DP-AdamBC: Adam that subtracts the variance of the noise from its second moment.

    Tang, Shpilevskiy and Lécuyer, *DP-AdamBC: Your DP-Adam Is Actually DP-SGD (Unless You Apply Bias
    Correction)*, AAAI 2024. Noise of variance Φ in every coordinate makes all second moments about Φ, and
    plain Adam a rescaled SGD. Here the step is m̂ / √max(v̂ − Φ, floor). Weight decay is decoupled.

    Args:
      noise_std: √Φ, of the noise in an update: σ C over the expected batch.
      floor: smallest second moment that is used, the square of a gradient.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        lr: float,
        noise_std: float,
        floor: float,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "weight_decay": weight_decay})
        self._noise_variance = noise_std**2
        self._floor = floor

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            first_decay, second_decay = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state: dict[str, Any] = self.state[parameter]
                if not state:
                    state["step"] = torch.zeros(())
                    state["first"] = torch.zeros_like(parameter)
                    state["second"] = torch.zeros_like(parameter)
                state["step"] += 1
                count = float(state["step"])
                state["first"].lerp_(parameter.grad, 1 - first_decay)
                state["second"].mul_(second_decay).addcmul_(
                    parameter.grad, parameter.grad, value=1 - second_decay
                )
                first = state["first"] / (1 - first_decay**count)
                second = state["second"] / (1 - second_decay**count) - self._noise_variance
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.sub_(group["lr"] * first / second.clamp(min=self._floor).sqrt())


class WeightAverage:
    """Exponential moving average of the weights of a run, which is often better than the last of them.

    The decay grows to its value over the first steps, (1 + t) / (10 + t), as De et al. (2022) do, so that
    the initial weights are soon forgotten.
    """

    def __init__(self, decay: float, trainable: Mapping[str, nn.Parameter]) -> None:
        self._decay = decay
        self._trainable = trainable
        self.values = {name: value.detach().clone() for name, value in trainable.items()}

    def add(self, step: int) -> None:
        """Add the weights after update number `step`, counted from 0."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for name, value in self._trainable.items():
            self.values[name].lerp_(value.detach(), 1 - decay)
