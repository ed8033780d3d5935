"""Action recognition across kinds of video: a small network, trained on one kind and tested on another.

`removed`, `blurred` and `boxed` are common alternatives to avatars: the person replaced by the background,
blurred, or hidden behind a grey box.

Shape suffixes: V videos, T frames, H rows, W columns, s pixels of a side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional

from raymaskdp.audit.video_pairs import Pair
from raymaskdp.train.data.positive_controls import with_blurred_people, without_people
from raymaskdp.video import masks

SIDE = 40
BATCH = 32
LEARNING_RATE = 4e-3
KINDS = ("real", "anonymized", "removed", "blurred", "boxed")
ASKED = (
    ("real", "real"),
    ("anonymized", "real"),
    ("anonymized", "anonymized"),
    ("removed", "removed"),
    ("blurred", "blurred"),
    ("boxed", "boxed"),
)
"""Pairs of the kinds of video for training and for the test."""


@dataclass(frozen=True, kw_only=True)
class ActionFidelity:
    """Share of videos with the right action, 0 to 1, with a 95 % interval (Clopper–Pearson)."""

    trained_on: str
    asked_about: str
    accuracy: float
    low: float
    high: float
    videos: int
    classes: int


def kinds_of(pair: Pair) -> dict[str, np.ndarray]:
    """The clip of a pair in all `KINDS`, uint8 [T, 40, 40, 3], with the same crop."""
    source_THW3, person_THW = pair.source_THW3, pair.person_THW
    boxed_THW3 = source_THW3.copy()
    for frame_HW3, person_HW in zip(boxed_THW3, person_THW, strict=True):
        if person_HW.any():
            frame_HW3[masks.bounding_slices(person_HW)] = 128
    clips = {
        "real": source_THW3,
        "anonymized": pair.output_THW3,
        "removed": without_people(source_THW3, person_THW),
        "blurred": with_blurred_people(source_THW3, person_THW),
        "boxed": boxed_THW3,
    }
    box = _square((person_THW | pair.avatar_THW).any(0))
    return {
        kind: np.stack([cv2.resize(frame[box], (SIDE, SIDE), interpolation=cv2.INTER_AREA) for frame in clip])
        for kind, clip in clips.items()
    }


def measure_actions(
    clips: Mapping[str, Sequence[np.ndarray]],
    labels: Sequence[str],
    test_V: np.ndarray,
    *,
    epochs: int,
    seed: int,
) -> tuple[ActionFidelity, ...]:
    """Train and test each pair of `ASKED`.

    Args:
      clips: of each kind, one clip a video, uint8 [T, 40, 40, 3].
      labels: the action of each video.
      test_V: bool [V], the test videos; the others are for training.
    """
    names = sorted(set(labels))
    wanted_V = torch.tensor([names.index(label) for label in labels])
    tensors = {kind: torch.from_numpy(np.stack(parts)) for kind, parts in clips.items()}
    train, test = torch.from_numpy(np.flatnonzero(~test_V)), torch.from_numpy(np.flatnonzero(test_V))
    models: dict[str, nn.Module] = {}
    found = []
    for trained_on, asked_about in ASKED:
        if trained_on not in models:
            models[trained_on] = _train(
                tensors[trained_on][train], wanted_V[train], len(names), epochs=epochs, seed=seed
            )
        with torch.no_grad():
            named = models[trained_on](_moving(tensors[asked_about][test])).argmax(1)
        right = int((named == wanted_V[test]).sum())
        interval = stats.binomtest(right, len(test)).proportion_ci()
        found.append(
            ActionFidelity(
                trained_on=trained_on,
                asked_about=asked_about,
                accuracy=right / len(test),
                low=float(interval.low),
                high=float(interval.high),
                videos=len(test),
                classes=len(names),
            )
        )
    return tuple(found)


def _square(mask_HW: np.ndarray) -> tuple[slice, slice]:
    """The smallest square around a mask, clipped to the frame; the whole frame if the mask is empty."""
    height, width = mask_HW.shape
    if not mask_HW.any():
        return slice(0, height), slice(0, width)
    x, y, wide, high = cv2.boundingRect(mask_HW.view(np.uint8))
    half = max(wide, high) // 2 + 1
    across, down = x + wide // 2, y + high // 2
    return slice(max(0, down - half), down + half), slice(max(0, across - half), across + half)


def _train(clips_VTss3: Tensor, wanted_V: Tensor, classes: int, *, epochs: int, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Conv3d(2, 16, (3, 5, 5), (1, 2, 2), (1, 2, 2)), nn.BatchNorm3d(16), nn.ReLU(),
            nn.Conv3d(16, 32, 3, (2, 2, 2), 1), nn.BatchNorm3d(32), nn.ReLU(),
            nn.Conv3d(32, 48, 3, (1, 2, 2), 1), nn.BatchNorm3d(48), nn.ReLU(),
            nn.AdaptiveAvgPool3d((2, 3, 3)), nn.Flatten(), nn.Dropout(0.3), nn.Linear(48 * 18, classes),
        )  # fmt: skip
        optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.05)
        batch = min(BATCH, len(clips_VTss3))
        steps = epochs * max(1, len(clips_VTss3) // batch)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
        for _ in range(steps):
            chosen = torch.randint(len(clips_VTss3), (batch,))
            clips = clips_VTss3[chosen]
            mirrored = torch.rand(batch) < 0.5
            clips[mirrored] = clips[mirrored].flip(3)
            down, right = (int(v) for v in torch.randint(-2, 3, (2,)))
            loss = functional.cross_entropy(
                model(_moving(clips.roll((down, right), dims=(2, 3)))), wanted_V[chosen], label_smoothing=0.1
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def _moving(clips_VTss3: Tensor) -> Tensor:
    """Brightness, and its change to the next frame; float32 [V, 2, T − 1, s, s]."""
    grey_VTss = clips_VTss3.float().mean(-1) / 127.5 - 1
    change_VTss = grey_VTss[:, 1:] - grey_VTss[:, :-1]
    return torch.stack([grey_VTss[:, 1:], 4 * change_VTss], dim=1)
