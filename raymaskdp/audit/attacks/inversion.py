"""Gradient inversion: reconstruct an image from the gradient of one record, and from a private update.

In a layer with a bias, the gradient of a row of weights is the input times the gradient of its bias, so one
division gives the input (Phong et al. 2017). The image is drawn here, and shows no person.

Shape suffixes: H rows, W columns, F = H·W·3 inputs, R rows of weights.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from raymaskdp.privacy import GradientEngine, Key, PrivacyPlan
from raymaskdp.privacy.keys import KEY_BYTES

SIDE = 48
HIDDEN, CLASSES = 32, 8


@dataclass(frozen=True, kw_only=True)
class Inversion:
    """Quality of the reconstruction, in dB (PSNR); above 30 it is the image, below 10 it is noise.

    Attributes:
      not_private: from the gradient of the single record.
      private: from the update with `noise_multiplier` and `clipping_norm` that contained only this record.
    """

    not_private: float
    private: float
    noise_multiplier: float
    clipping_norm: float


def invert(plan: PrivacyPlan, *, seed: int) -> tuple[Inversion, np.ndarray]:
    """The figures, and the image beside both reconstructions, uint8 [48, 144, 3]."""
    picture_HW3 = _card()
    inputs_F = torch.from_numpy(picture_HW3).float().flatten() / 127.5 - 1
    alone = {"num_records": 1, "expected_batch": 1.0, "clips": 1, "steps": 1, "delta": 1e-5}
    private = PrivacyPlan(
        mechanism="dpsgd",
        noise_multiplier=plan.noise_multiplier,
        clipping_norm=plan.clipping_norm,
        **alone,  # type: ignore[arg-type]
    )
    plain = PrivacyPlan(mechanism="sgd", noise_multiplier=0.0, **alone)  # type: ignore[arg-type]
    found = [_reconstruct(_update(inputs_F, chosen, seed)) for chosen in (plain, private)]
    result = Inversion(
        not_private=_psnr(picture_HW3, found[0]),
        private=_psnr(picture_HW3, found[1]),
        noise_multiplier=private.noise_multiplier,
        clipping_norm=private.clipping_norm,
    )
    return result, np.hstack([picture_HW3, *found])


def _update(inputs_F: torch.Tensor, plan: PrivacyPlan, seed: int) -> dict[str, torch.Tensor]:
    """The released update of a small network for one record."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(len(inputs_F), HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES))
    engine = GradientEngine(model, plan)
    with engine.record(num_records=1):
        losses = functional.cross_entropy(model(inputs_F[None]), torch.tensor([0]), reduction="none")
        total = engine.clipped_sum(losses)
    key = Key(secret=hashlib.blake2b(f"inversion {seed}".encode(), digest_size=KEY_BYTES).digest())
    return plan.private_update(total, key, 0)


def _reconstruct(update: dict[str, torch.Tensor]) -> np.ndarray:
    """The input that fits the gradient of the first layer best: least squares over its rows."""
    weights_RF, bias_R = update["0.weight"].double(), update["0.bias"].double()
    inputs_F = (bias_R @ weights_RF) / (bias_R @ bias_R).clamp_min(1e-30)
    levels_F = ((inputs_F + 1) * 127.5).clamp(0, 255).round()
    return levels_F.numpy().astype(np.uint8).reshape(SIDE, SIDE, 3)


def _card() -> np.ndarray:
    """A drawn image: a house, a tree and the sun, uint8 [48, 48, 3]."""
    card_HW3 = np.full((SIDE, SIDE, 3), (150, 200, 240), np.uint8)
    card_HW3[34:] = (110, 160, 90)
    cv2.circle(card_HW3, (39, 9), 5, (250, 220, 90), -1)
    cv2.rectangle(card_HW3, (8, 22), (26, 40), (200, 120, 90), -1)
    cv2.fillPoly(card_HW3, [np.array([(5, 22), (17, 11), (29, 22)])], (120, 50, 40))
    cv2.rectangle(card_HW3, (14, 30), (20, 40), (80, 50, 40), -1)
    cv2.rectangle(card_HW3, (37, 30), (39, 41), (90, 60, 40), -1)
    cv2.circle(card_HW3, (38, 26), 7, (50, 120, 60), -1)
    return card_HW3


def _psnr(one: np.ndarray, other: np.ndarray) -> float:
    error = float(np.mean((one.astype(float) - other) ** 2))
    return float(10 * np.log10(255**2 / max(error, 1e-4)))
