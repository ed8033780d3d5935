"""Membership inference: attacks on trained models by the loss and by likelihood ratios.

Models are trained as a run was, each on a different half of its records, so that for every record there are
models with and without it. Each is attacked with the help of the others (LiRA, Carlini et al. 2022).
"Without" is defined by the run's adjacency: a record of `dpsgd` or `multiclip` is absent; one of a masked
mechanism has blank sensitive tokens, because its presence is public. Losses of single records stay in memory
and are never written.

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
      mechanism: of the attacked models.
      models, records: their numbers.
      auc: area under the ROC curve; 0.5 is guessing.
      tpr: true positive rate at the false positive rate `fpr`.
      claimed, at_least: ε of a model, and ε that the attack proves; `claimed` is None without privacy.
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
        """Whether the proven ε exceeds the claimed one."""
        return self.claimed is not None and self.at_least > self.claimed


def attack_membership(
    settings: TrainConfig,
    work: Path,
    *,
    models: int,
    seed: int,
    train_all: Callable[[Sequence[TrainConfig], Path], Sequence[Path]],
) -> tuple[Membership, ...]:
    """Train `models` (even) as `settings` specifies, on halves of the records, and apply both attacks.

    Args:
      work: folder for the halves and the models; private, and to be removed afterwards.
      train_all: trains configurations, with a folder for their files, and returns the folders of the runs.
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
    """Which records each model has, bool [M, N]: half of them; the next model has the others."""
    rng = np.random.default_rng(seed)
    member_MN = np.zeros((models, records), dtype=bool)
    for model in range(0, models, 2):
        chosen = rng.permutation(records)[: records // 2]
        member_MN[model, chosen] = True
        member_MN[model + 1] = ~member_MN[model]
    return member_MN


def _write_half(store: ClipStore, settings: TrainConfig, member_N: np.ndarray, folder: Path) -> Path:
    """A clip store with the member records unchanged, and the other records absent or blank."""
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
    """log(p / (1 − p)) of the true class for each record, the mean over its clips; [N]."""
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
    """For each model, the likelihood ratio of a record with and without it, from the other models; [M, N].

    The twin of a model, which has the complementary records, is excluded: its records determine the model's,
    and an attack without information would be worse than chance. There are few models, so the means are a
    record's own, and the spreads are those of all records.
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
    # The bound takes thresholds from one half and counts on the other; the halves must be independent of the
    # models.
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
    """The curve at false positive rates from 0.001 to 1, evenly spaced on a logarithmic scale."""
    fpr = np.geomspace(1e-3, 1.0, ROC_POINTS)
    thresholds = np.quantile(outside, 1 - fpr)
    return fpr.tolist(), [float(np.mean(inside > threshold)) for threshold in thresholds]
