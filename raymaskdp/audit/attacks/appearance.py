"""Identification by appearance: a small network that is trained here, on the subjects themselves.

Random erasing (Zhong et al. 2018) and features of horizontal parts (Sun et al. 2018) make training on few
images of people effective. Pretrained weights would be stronger, but are not needed to show which information
remains.

Shape suffixes: N crops, V videos, h×w a crop, D features.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH = 32
FEATURES = 64
PARTS = 4
SHARPNESS = 12.0
BATCH = 64
LEARNING_RATE = 2e-3


class AppearanceNet(nn.Module):
    """Crops uint8 [N, h, w, 3] to features of length 1, [N, 64]."""

    def __init__(self) -> None:
        super().__init__()
        sizes = (3, WIDTH, 2 * WIDTH, 3 * WIDTH)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(sizes):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d((PARTS, 1)), nn.Flatten())
        self.project = nn.Linear(PARTS * sizes[-1], FEATURES)

    def forward(self, crops_Nhw3: Tensor) -> Tensor:
        pixels = (crops_Nhw3.float() / 127.5 - 1).permute(0, 3, 1, 2)
        return functional.normalize(self.project(self.layers(pixels)), dim=1)


def train_embedder(
    crops: Sequence[np.ndarray], subjects: Sequence[str], *, epochs: int, seed: int
) -> AppearanceNet:
    """Learn to distinguish subjects, from the crops uint8 [T, h, w, 3] of each video and its subject."""
    names = sorted(set(subjects))
    pixels = torch.from_numpy(np.concatenate(crops))
    wanted = torch.tensor([names.index(name) for cut, name in zip(crops, subjects, strict=True) for _ in cut])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AppearanceNet()
        middles = nn.Parameter(torch.randn(len(names), FEATURES))
        optimizer = torch.optim.AdamW([*model.parameters(), middles], lr=LEARNING_RATE, weight_decay=0.01)
        steps = epochs * max(1, len(pixels) // BATCH)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
        for _ in range(steps):
            chosen = torch.randint(len(pixels), (BATCH,))
            features = model(_disturbed(pixels[chosen]))
            scores = SHARPNESS * features @ functional.normalize(middles, dim=1).T
            loss = functional.cross_entropy(scores, wanted[chosen], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


@torch.no_grad()
def embed(model: AppearanceNet, crops: Sequence[np.ndarray]) -> np.ndarray:
    """One feature vector a video, the mean over its crops; float32 [V, 64]."""
    return np.stack([model(torch.from_numpy(cut)).mean(0).numpy() for cut in crops])


def _disturbed(crops_Nhw3: Tensor) -> Tensor:
    """Augmented crops: mirrored, shifted, with changed brightness and a missing patch, so that the room is no
    cue.
    """
    crops_Nhw3 = crops_Nhw3.clone()
    _, rows, columns, _ = crops_Nhw3.shape
    mirrored = torch.rand(len(crops_Nhw3)) < 0.5
    crops_Nhw3[mirrored] = crops_Nhw3[mirrored].flip(2)
    down, right = (int(v) for v in torch.randint(-3, 4, (2,)))
    crops_Nhw3 = crops_Nhw3.roll((down, right), dims=(1, 2))
    for crop in crops_Nhw3:
        y, x = int(torch.randint(rows, ())), int(torch.randint(columns, ()))
        crop[y : y + rows // 5, x : x + columns // 3] = 127
    gain = 1 + 0.15 * torch.randn(len(crops_Nhw3), 1, 1, 1)
    return (crops_Nhw3.float() * gain).clamp(0, 255)
