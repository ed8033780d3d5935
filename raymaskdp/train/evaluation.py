"""`evaluate`: accuracy of a run's model, mainly on videos that it was not trained on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from raymaskdp import check, models
from raymaskdp import config as configuration
from raymaskdp.errors import Damaged, UserError
from raymaskdp.files import read_json, write_json
from raymaskdp.places import LocalPath
from raymaskdp.train import checkpoint, metrics
from raymaskdp.train.config import VALIDATION, TrainConfig
from raymaskdp.train.data import clips
from raymaskdp.train.data.splits import videos_of
from raymaskdp.train.data.store import ClipStore
from raymaskdp.train.device import device_here
from raymaskdp.train.per_class import draw_change
from raymaskdp.train.run.setup import RunSetup, initial_model

NOTE = "Measured on private videos that were not trained on; ε does not cover this measurement."
NOTES = {
    "training": "Measured on the private videos that were trained on; ε does not cover this measurement.",
    "validation": (
        "Measured on private validation videos: people held out of training, whom ε does not cover. "
        "A choice made by this number reveals something about them. Its cost for the training videos is the "
        "selection cost."
    ),
}
TOP = 5


@dataclass(frozen=True, kw_only=True)
class EvaluateResult:
    """Accuracy on one split, on the full views of anonymized videos.

    Attributes:
      run: the run's folder.
      split, videos, views, crops: the evaluation; `views` clips per video in `crops` windows were averaged.
      metric, score: the main metric: top1, or auroc (mean over findings) if labels are sets; 0 to 1.
      top1, top5: share of videos whose action is ranked first, or among the first five; None for sets.
      mean_class: mean over the classes of each class's share.
      per_class: that share by class; AUROC by finding. Classes without a video are omitted.
      confusion: rows are true classes, columns predicted ones, in the order of `classes`; empty for findings.
      baseline, change: another run, and the difference of `per_class` from its own; None without one.
      plot: the change as a picture (PNG; the same as SVG is beside it).
      data: the evaluated data, and how the guarantee covers them.
    """

    run: str
    split: str
    videos: int
    views: int
    crops: int
    metric: Literal["top1", "auroc"]
    score: float
    top1: float | None
    top5: float | None
    mean_class: float
    per_class: dict[str, float]
    classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    baseline: str | None = None
    change: dict[str, float] | None = None
    plot: str | None = None
    data: str = NOTE

    def __str__(self) -> str:
        looks = f"{self.views} clips a video" + (f" in {self.crops} windows" if self.crops > 1 else "")
        if self.metric == "auroc":
            first = f"AUROC {self.score:.3f} on {self.videos} {self.split} videos ({looks})"
        else:
            first = (
                f"{self.top1:.1%} of {self.videos} {self.split} videos are named rightly, {self.top5:.1%} "
                f"among five (mean over classes {self.mean_class:.1%}, {looks})"
            )
        lines = [first]
        for name, value in self.per_class.items():
            change = f"  {self.change[name]:+6.1%}" if self.change and name in self.change else ""
            lines.append(f"  {value:6.1%}{change}  {name}")
        if self.plot:
            lines.append(f"Change against {self.baseline}: {self.plot}")
        return "\n".join([*lines, self.data])


def evaluate(
    run: LocalPath,
    *,
    split: str = "test",
    views: int = 3,
    crops: int = 1,
    baseline: LocalPath | None = None,
) -> EvaluateResult:
    """Evaluate a finished run's model; writes `evaluation.json` into its folder.

    Scores of `views` clips evenly spread over a video, each in `crops` windows, are averaged as
    probabilities. With the folder of another, evaluated run as `baseline` the change of every class is
    given, and drawn to `per_class_change.png` and `.svg`. Raises `UserError` if the run is unfinished, its
    data are gone, or the baseline was not evaluated or has other classes.
    """
    check.positive("views", views)
    check.positive("crops", crops)
    folder = Path(run)
    if not (folder / "model.safetensors").is_file():
        raise UserError(f"{folder} has no finished run; run `raymaskdp train` to its end first.")
    earlier = None if baseline is None else _per_class_of(Path(baseline))
    config = configuration.load(TrainConfig, folder / "config.yaml")
    store = ClipStore.open(config.data)
    model = initial_model(replace(config, init=None), store)
    models.load_weights(folder / "model.safetensors", model)
    looks = MeasuredClips(split=split, views=views, crops=crops)
    device = device_here(config.compute.gpus if torch.cuda.is_available() else 0)
    targets, scores = score_videos(model.eval().to(device), store, config, looks)
    note = {config.split: NOTES["training"], VALIDATION: NOTES["validation"]}.get(split, NOTE)
    result = EvaluateResult(
        run=str(folder),
        split=split,
        videos=len(scores),
        views=views,
        crops=crops,
        classes=store.classes,
        data=note,
        **_measures(store, scores, targets),
    )
    if earlier is not None:
        result = _compared(result, str(baseline), earlier, store, config.split)
    write_json(folder / "evaluation.json", asdict(result), scores=True)
    return result


@dataclass(frozen=True, kw_only=True)
class MeasuredClips:
    """The evaluation clips of a model: `views` clips per video of a split, each in `crops` windows."""

    split: str
    views: int = 3
    crops: int = 1


def score_checkpoint(setup: RunSetup, looks: MeasuredClips) -> float:
    """The score (as in `EvaluateResult`) of a run at its last checkpoint, finished or not.

    The weights of the checkpoint go into the setup's model, so it must not be the one that is being trained.
    Writes nothing. Raises `UserError` if there is no checkpoint of this run.
    """
    job, store, model = setup.job, setup.store, setup.model
    checkpoint.load_result(job.checkpoint_file, model=model, identity=job.identity)
    device = device_here(job.config.compute.gpus)
    targets, scores = score_videos(model.eval().to(device), store, job.config, looks)
    return float(_measures(store, scores, targets)["score"])


@torch.no_grad()
def score_videos(
    model: nn.Module, store: ClipStore, config: TrainConfig, looks: MeasuredClips
) -> tuple[np.ndarray, np.ndarray]:
    """Targets (`ClipStore.target`) and probabilities, float32 [B, C], of the B videos of a split.

    Computed where the model is.
    """
    device = next(model.parameters()).device
    targets, scores = [], []
    videos = videos_of(store, config, looks.split)
    store.fetch(videos)
    for video in videos:
        drawn = clips.evenly(store, video, looks.views, config.clips, looks.crops)
        found_VC = model(clips.full_views(drawn, store.fill).to(device))
        found_VC = found_VC.sigmoid() if store.several else found_VC.softmax(dim=1)
        scores.append(found_VC.mean(dim=0).cpu().numpy())
        targets.append(store.target(str(video.label)))
    return np.stack(targets), np.stack(scores)


def _measures(store: ClipStore, scores: np.ndarray, targets: np.ndarray) -> dict:
    return (_findings if store.several else _actions)(scores, targets, store.classes)


def _actions(scores_BC: np.ndarray, truth_B: np.ndarray, classes: tuple[str, ...]) -> dict:
    matrix = metrics.confusion(scores_BC.argmax(axis=1), truth_B, len(classes))
    present = [number for number in range(len(classes)) if matrix[number].any()]
    per_class = {classes[n]: float(matrix[n, n] / matrix[n].sum()) for n in present}
    top1 = metrics.top(scores_BC, truth_B, 1)
    return {
        "metric": "top1",
        "score": top1,
        "top1": top1,
        "top5": metrics.top(scores_BC, truth_B, TOP),
        "mean_class": float(np.mean(list(per_class.values()))),
        "per_class": per_class,
        "confusion": tuple(tuple(int(count) for count in row) for row in matrix),
    }


def _findings(scores_BC: np.ndarray, there_BC: np.ndarray, classes: tuple[str, ...]) -> dict:
    areas = [metrics.auroc(scores_BC[:, n], there_BC[:, n] > 0.5) for n in range(len(classes))]
    per_class = {name: area for name, area in zip(classes, areas, strict=True) if area is not None}
    if not per_class:
        raise UserError("No finding is present in some videos and absent in others, so there is no AUROC.")
    mean = float(np.mean(list(per_class.values())))
    return {
        "metric": "auroc",
        "score": mean,
        "top1": None,
        "top5": None,
        "mean_class": mean,
        "per_class": per_class,
        "confusion": (),
    }


def _per_class_of(run: Path) -> dict[str, float]:
    """The figures by class of an earlier evaluation of a run."""
    path = run / "evaluation.json"
    if not path.is_file():
        raise UserError(f"The baseline {run} was not evaluated; run `raymaskdp evaluate {run}` first.")
    try:
        return dict(read_json(path)["per_class"])
    except (KeyError, TypeError, ValueError) as error:
        raise Damaged(f"{path} has no figures by class; run `raymaskdp evaluate {run}` again.") from error


def _compared(
    result: EvaluateResult, baseline: str, earlier: dict[str, float], store: ClipStore, trained_on: str
) -> EvaluateResult:
    if earlier.keys() != result.per_class.keys():
        raise UserError(f"The baseline {baseline} has other classes; compare runs on the same data.")
    change = {name: value - earlier[name] for name, value in result.per_class.items()}
    plot = Path(result.run) / "per_class_change"
    draw_change(change, store.class_shares(trained_on), plot)
    return replace(result, baseline=baseline, change=change, plot=str(plot.with_suffix(".png")))
