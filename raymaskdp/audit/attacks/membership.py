"""Membership inference: attacks on trained models by the loss and by likelihood ratios.

Models are trained as a run was, each on another half of its records, so that for every record there are
models with and without it; each is attacked with the help of the others (LiRA, Carlini et al. 2022). What
"without" means is the run's adjacency: a record of `dpsgd` or `multiclip` is left out; one of a masked
mechanism stays, with its sensitive tokens blank, because that it was there is public.

Losses of single records are looked at in memory, and none is written.

Shape suffixes: M models, N records, K clips.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file
from scipy import stats

from raymaskdp.errors import UserError
from raymaskdp.files import sha256_file, write_json
from raymaskdp.privacy.audit import lower_bound
from raymaskdp.train import ClipStore, TrainConfig, loop
from raymaskdp.train.data.batches import PixelInputs
from raymaskdp.train.data.clips import records_of
from raymaskdp.train.data.store import TABLE, about_store
from raymaskdp.train.run.result import read_result
from raymaskdp.train.run.setup import initial_model

LOW_FPR = 0.01
ROC_POINTS = 200


@dataclass(frozen=True, kw_only=True)
class Membership:
    """One attack over all models and records; 0 to 1.

    Attributes:
      attack: "loss" (one threshold for all records) or "LiRA".
      mechanism: of the models that were attacked.
      models, records: how many.
      auc: area under the ROC curve; 0.5 is guessing.
      tpr: true positive rate where the false one is `fpr`.
      claimed, at_least: ε of a model, and that which the attack proves; `claimed` is None without privacy.
      roc_fpr, roc_tpr: the curve.
    """

    attack: str
    mechanism: str
    models: int
    records: int
    auc: float
    tpr: float
    fpr: float
    claimed: float | None
    at_least: float
    roc_fpr: tuple[float, ...]
    roc_tpr: tuple[float, ...]

    @property
    def found(self) -> bool:
        """Whether more was proven than is claimed."""
        return self.claimed is not None and self.at_least > self.claimed


def attack_membership(
    settings: TrainConfig,
    work: Path,
    *,
    models: int,
    seed: int,
    train_all: Callable[[Sequence[TrainConfig], Path], Sequence[Path]],
) -> tuple[Membership, ...]:
    """Train `models` (even) as `settings` says, on halves of the records, and attack them both ways.

    Args:
      work: folder for the halves and the models; private, and to be removed afterwards.
      train_all: trains configurations, with a folder for what it keeps, and says where the runs are.
    """
    store = ClipStore.open(settings.data)
    store.fetch(store.split(settings.split))
    records = records_of(store.split(settings.split), "video")
    if settings.privacy.unit != "video":
        raise UserError("Membership inference attacks runs whose unit of privacy is the video.")
    member_MN = _halves(models, len(records), seed)
    compute = dataclasses.replace(settings.compute, workers=0, progress=False, cache_features=False)
    halves = [
        dataclasses.replace(
            settings,
            data=_write_half(store, settings, member_N, work / f"half-{number}").absolute(),
            out=(work / "runs").absolute(),
            init=settings.init and Path(settings.init).absolute(),
            compute=compute,
        )
        for number, member_N in enumerate(member_MN)
    ]
    runs = train_all(halves, work)
    confidence_MN = np.stack([_confidence(settings, store, run) for run in runs])
    claimed = max((read_result(run).epsilon or 0.0 for run in runs), default=0.0) or None
    scores = {"loss": confidence_MN, "LiRA": _likelihood_ratios(confidence_MN, member_MN)}
    return tuple(
        _membership(name, settings.privacy.mechanism, score_MN, member_MN, claimed, settings.privacy.delta)
        for name, score_MN in scores.items()
    )


def _halves(models: int, records: int, seed: int) -> np.ndarray:
    """Which records each model has, bool [M, N]: half of them, and the next model has the others."""
    rng = np.random.default_rng(seed)
    member_MN = np.zeros((models, records), dtype=bool)
    for model in range(0, models, 2):
        chosen = rng.permutation(records)[: records // 2]
        member_MN[model, chosen] = True
        member_MN[model + 1] = ~member_MN[model]
    return member_MN


def _write_half(store: ClipStore, settings: TrainConfig, member_N: np.ndarray, folder: Path) -> Path:
    """A clip store with the members as they are, and the other records left out or blank."""
    masked = settings.privacy.mechanism.startswith("maskdp")
    clips = folder / "clips"
    clips.mkdir(parents=True)
    table = pd.DataFrame([dataclasses.asdict(video) for video in store.videos])
    for video, member in zip(store.split(settings.split), member_N, strict=True):
        if member or masked:
            for path in (store.path / "clips").glob(f"{video.video_id}.*"):
                if not member and path.name.endswith(".frames.npy"):
                    frames_THW3, sensitive_THW = store.read(video.index, np.arange(video.num_frames))
                    np.save(clips / path.name, np.where(sensitive_THW[..., None], store.fill, frames_THW3))
                    table.loc[table["index"] == video.index, "frames_sha256"] = sha256_file(clips / path.name)
                else:
                    (clips / path.name).symlink_to(path.absolute())
        else:
            table.loc[table["index"] == video.index, "split"] = "left out"
    table.to_parquet(folder / "videos.parquet", index=False)
    about = about_store(settings.data) or {}
    text = f"{store.fingerprint} {member_N.tolist()}"
    digest = hashlib.sha256(text.encode()).hexdigest()
    write_json(
        folder / "store.json",
        {**about, "fingerprint": digest, "name": digest, TABLE: sha256_file(folder / "videos.parquet")},
    )
    return folder


@torch.no_grad()
def _confidence(settings: TrainConfig, store: ClipStore, run: Path) -> np.ndarray:
    """log(p / (1 − p)) of the right answer for each record as it is, the mean over its clips; [N]."""
    model = initial_model(settings, store)
    model.load_state_dict(load_file(run / "model.safetensors"))
    model.eval()
    records = records_of(store.split(settings.split), "video")
    inputs = PixelInputs(store, records, settings.clips, masked=False)
    draws_1K = np.arange(min(settings.clips.draws, 4))[None]
    found = []
    for record in range(len(records)):
        views = inputs.read(np.array([record]), draws_1K)
        losses_K = loop.losses_of(model, views.full, views.labels).double()
        found.append(float((-losses_K - torch.log(-torch.expm1(-losses_K.clamp_min(1e-12)))).mean()))
    return np.array(found)


def _likelihood_ratios(confidence_MN: np.ndarray, member_MN: np.ndarray) -> np.ndarray:
    """For each model, what the others say about a record with and without it; [M, N].

    Of the others neither is its twin, which has the records that it has not: the twin's records tell what the
    model's are, and an attack that tells nothing would be worse than chance. Few models: the means are a
    record's own, the spreads are those of all records.
    """
    ratios = np.zeros_like(confidence_MN)
    if len(confidence_MN) < 4:
        return ratios  # there is no other pair
    for model in range(len(confidence_MN)):
        others = np.arange(len(confidence_MN)) // 2 != model // 2
        seen_MN, with_MN = confidence_MN[others], member_MN[others]
        sides = []
        for chosen_MN in (with_MN, ~with_MN):
            count_N = chosen_MN.sum(0)
            mean_N = np.where(chosen_MN, seen_MN, 0).sum(0) / np.maximum(count_N, 1)
            spread = np.sqrt(np.mean(np.square(seen_MN - mean_N)[chosen_MN])) + 1e-6
            sides.append(np.where(count_N, stats.norm.logpdf(confidence_MN[model], mean_N, spread), 0.0))
        ratios[model] = sides[0] - sides[1]
    return ratios


def _membership(
    attack: str,
    mechanism: str,
    score_MN: np.ndarray,
    member_MN: np.ndarray,
    claimed: float | None,
    delta: float,
) -> Membership:
    inside, outside = score_MN[member_MN], score_MN[~member_MN]
    rng = np.random.default_rng(0)
    # The bound takes thresholds from one half and counts on the other; models must not decide which.
    worlds = [rng.permutation(scores)[:, None] for scores in (inside, outside)]
    fpr, tpr = _roc(inside, outside)
    return Membership(
        attack=attack,
        mechanism=mechanism,
        models=len(member_MN),
        records=member_MN.shape[1],
        auc=float(stats.mannwhitneyu(inside, outside).statistic / (len(inside) * len(outside))),
        tpr=float(np.mean(inside > np.quantile(outside, 1 - LOW_FPR))),
        fpr=LOW_FPR,
        claimed=claimed,
        at_least=lower_bound(worlds[0], worlds[1], delta=delta),
        roc_fpr=tuple(fpr),
        roc_tpr=tuple(tpr),
    )


def _roc(inside: np.ndarray, outside: np.ndarray) -> tuple[list[float], list[float]]:
    """The curve at false positive rates from 0.001 to 1, evenly on a logarithmic scale."""
    fpr = np.geomspace(1e-3, 1.0, ROC_POINTS)
    thresholds = np.quantile(outside, 1 - fpr)
    return fpr.tolist(), [float(np.mean(inside > threshold)) for threshold in thresholds]
