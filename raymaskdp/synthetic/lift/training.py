"""Train `bodies.fitting.lift` to correct the errors of BlazePose's landmarks, on rendered people.

`raymaskdp models train-lift` renders people with random motion and some who perform actions, tracks each of
them with the landmark network, and fits the corrections. The videos share no person, room or camera with
sample data of another seed.

Shape suffixes: N samples, E examples, L = 33 landmarks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from tqdm import tqdm

from raymaskdp.bodies.fitting import lift
from raymaskdp.bodies.fitting.lift import NUM_POINTS, OFFSETS_S, Lift, Neighbours, neighbours
from raymaskdp.errors import UserError
from raymaskdp.files import atomic_path, require_ours
from raymaskdp.places import LocalPath
from raymaskdp.synthetic.actions import ACTIONS
from raymaskdp.synthetic.config import ActionName, SynthesizeConfig
from raymaskdp.synthetic.lift.config import LiftTrainingConfig
from raymaskdp.synthetic.lift.examples import LiftExample, rendered_examples, simulated_examples
from raymaskdp.synthetic.synthesize import synthesize

MOTIONS = tuple(OFFSETS_S.index(-step / 12) for step in (3, 1))
"""Neighbours in time to which motions are compared: a quarter and a twelfth of a second before."""


@dataclass(frozen=True, kw_only=True)
class LiftTrainingResult:
    """The result of the training.

    Attributes:
      path: the file.
      samples: number of training samples.
      loss: of the last epoch, in units of a person's spread.
    """

    path: str
    samples: int
    loss: float

    def __str__(self) -> str:
        return f"{self.path}: trained on {self.samples} samples, loss {self.loss:.3f}."


def train_lift(out: LocalPath, work: LocalPath, settings: LiftTrainingConfig) -> LiftTrainingResult:
    """Render into the folder `work` (kept, and resumed), train, and write the network to `out`."""
    require_ours(Path(out))  # before the work
    films = [_film(settings, seed) for seed in settings.seeds]
    films += [_film(settings, seed, larger=2) for seed in settings.large_seeds]
    acted = cast(tuple[ActionName, ...], tuple(ACTIONS))
    films += [replace(_film(settings, seed), **_HIGH) for seed in settings.high_seeds]
    films += [_film(settings, seed, actions=acted) for seed in settings.acted_seeds]
    films += [_film(settings, seed, actions=("step_about",)) for seed in settings.stepping_seeds]
    examples = [example for film in films for example in _examples(Path(work), film)]
    network, loss = learn(examples, settings)
    with atomic_path(Path(out)) as temporary:
        lift.save(network, temporary)
    return LiftTrainingResult(
        path=str(out), samples=sum(len(example.image_NL2) for example in examples), loss=loss
    )


_HIGH: dict[str, Any] = {"camera_height": (2.0, 2.4), "camera_distance": (1.3, 2.8)}


def _film(
    settings: LiftTrainingConfig,
    seed: int,
    *,
    actions: tuple[ActionName, ...] = ("improvise",),
    larger: int = 1,
) -> SynthesizeConfig:
    return SynthesizeConfig(
        seed=seed, actions=actions, people=max(1, settings.videos // len(actions)), rooms=24,
        frames=settings.frames, fps=settings.fps, width=192 * larger, height=144 * larger, test_share=0.0,
    )  # fmt: skip


def _examples(work: Path, film: SynthesizeConfig) -> list[LiftExample]:
    folder = work / f"film-{film.seed}"
    synthesize(folder, film)
    examples = list(rendered_examples(folder, film.seed, film.fps))
    if not examples:
        raise UserError(f"The body network detected no person in {folder}; render more (videos=, frames=).")
    return examples


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """Several examples side by side, as tensors; `example_N` says which one a frame is of, from 0."""

    features_NF: torch.Tensor
    places_N3: torch.Tensor
    context: Neighbours
    space_NL3: torch.Tensor
    image_NL2: torch.Tensor
    example_N: torch.Tensor


def learn(examples: Sequence[LiftExample], settings: LiftTrainingConfig) -> tuple[Lift, float]:
    """A network trained on the examples, their mirror images and simulated people; the last epoch's mean
    loss.
    """
    torch.manual_seed(0)
    rng = np.random.default_rng([settings.seeds[0], 9])
    both = [example for one in examples for example in (one, one.mirrored())]
    trained = [
        _tensors(example) for example in (*both, *(one.cut(rng) for one in both if _now(rng, settings)))
    ]
    others = simulated_examples(
        settings.imagined, examples, frames=settings.frames, fps=settings.fps, seed=settings.seeds[0]
    )
    trained += [_tensors(one.cut(rng) if _now(rng, settings) else one) for one in others]
    network = Lift(settings.dropout)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    steps = -(-len(trained) // settings.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=settings.epochs * steps, pct_start=0.1
    )
    losses: list[float] = []
    for _ in tqdm(range(settings.epochs), "learn", unit="epoch"):
        losses = []
        for rows in torch.randperm(len(trained)).tensor_split(steps):
            batch = _together([_blinded(trained[row], settings.blind) for row in rows.tolist()])
            given = batch.features_NF != 0
            noisy = batch.features_NF + settings.noise * given * torch.randn(given.shape)
            result = network(noisy, batch.places_N3, batch.context)
            loss = _loss(result, batch, settings)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
    return network.eval(), float(np.mean(losses))


def _loss(result_NL5: torch.Tensor, batch: _Batch, settings: LiftTrainingConfig) -> torch.Tensor:
    """Mean distances in space and in the image, of motions, and of amplitudes."""
    points_NL3, truth_NL3 = result_NL5[..., :3], batch.space_NL3
    loss = (points_NL3 - truth_NL3).norm(dim=-1).mean()
    loss = loss + (result_NL5[..., 3:] - batch.image_NL2).norm(dim=-1).mean()
    moved_EL, truly_EL = (_amplitudes(one_NL3, batch.example_N) for one_NL3 in (points_NL3, truth_NL3))
    loss = loss + settings.amplitude * (moved_EL - truly_EL).abs().mean()
    for column in MOTIONS:
        then_N = batch.context.before_NK[:, column]
        off_NL3 = (points_NL3 - points_NL3[then_N]) - (truth_NL3 - truth_NL3[then_N])
        loss = loss + settings.motion * off_NL3.norm(dim=-1).mean()
    return loss


def _amplitudes(points_NL3: torch.Tensor, example_N: torch.Tensor) -> torch.Tensor:
    """How far each point moves in each example, [E, L]: the root mean square distance from its mean place."""
    count_E = torch.bincount(example_N)

    def mean(values_NX: torch.Tensor) -> torch.Tensor:
        total_EX = values_NX.new_zeros(len(count_E), *values_NX.shape[1:]).index_add_(0, example_N, values_NX)
        return total_EX / count_E.reshape(-1, *[1] * (values_NX.ndim - 1))

    away_NL3 = points_NL3 - mean(points_NL3)[example_N]
    return (mean(away_NL3.square().sum(-1)) + 1e-6).sqrt()


def _now(rng: np.random.Generator, settings: LiftTrainingConfig) -> bool:
    return bool(rng.random() < settings.cut)


def _blinded(batch: _Batch, share: float) -> _Batch:
    """The batch without 3-D landmarks, with probability `share`."""
    if torch.rand(()) >= share:
        return batch
    features_NF = batch.features_NF.clone()
    features_NF[:, NUM_POINTS * 3 :] = 0
    return replace(batch, features_NF=features_NF)


def _tensors(example: LiftExample) -> _Batch:
    return _Batch(
        features_NF=example.seen.features(),
        places_N3=example.seen.places(),
        context=neighbours(len(example.image_NL2), example.fps),
        space_NL3=_tensor(example.space_NL3),
        image_NL2=_tensor(example.image_NL2),
        example_N=torch.zeros(len(example.image_NL2), dtype=torch.int64),
    )


def _together(parts: list[_Batch]) -> _Batch:
    """Examples concatenated; no frame is a neighbour of another example's."""
    first = np.cumsum([0, *(len(part.features_NF) for part in parts)]).tolist()
    context = Neighbours(
        before_NK=torch.cat([part.context.before_NK + at for part, at in zip(parts, first, strict=False)]),
        after_NK=torch.cat([part.context.after_NK + at for part, at in zip(parts, first, strict=False)]),
        share_NK=torch.cat([part.context.share_NK for part in parts]),
    )
    return _Batch(
        features_NF=torch.cat([part.features_NF for part in parts]),
        places_N3=torch.cat([part.places_N3 for part in parts]),
        context=context,
        space_NL3=torch.cat([part.space_NL3 for part in parts]),
        image_NL2=torch.cat([part.image_NL2 for part in parts]),
        example_N=torch.cat([part.example_N + number for number, part in enumerate(parts)]),
    )


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values).float()
