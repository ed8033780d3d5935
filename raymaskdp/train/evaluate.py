"""`evaluate`: how well a run's model names the actions of videos it was not trained on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from raymaskdp import check, models
from raymaskdp import config as configuration
from raymaskdp.errors import UserError
from raymaskdp.files import write_json
from raymaskdp.train import clips, loop
from raymaskdp.train.config import TrainConfig
from raymaskdp.train.store import ClipStore

NOTE = "Measured on private videos that were not trained on; ε does not cover this measurement."


@dataclass(frozen=True, kw_only=True)
class EvaluateResult:
    """Accuracy on one split, on anonymized videos as they are (full views).

    Attributes:
      run: the run's folder.
      split, videos, views: what was measured, and how many clips a video were averaged.
      top1: share of videos whose action is named.
      mean_class: mean over the classes of each class's share.
      per_class: that share by class.
      confusion: rows are true classes, columns named ones, in the order of `classes`.
      data: what data this was, and what the guarantee says of it.
    """

    run: str
    split: str
    videos: int
    views: int
    top1: float
    mean_class: float
    per_class: dict[str, float]
    classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    data: str = NOTE

    def __str__(self) -> str:
        lines = [
            f"{self.top1:.1%} of {self.videos} {self.split} videos are named rightly "
            f"(mean over classes {self.mean_class:.1%}, {self.views} clips a video)"
        ]
        lines += [f"  {share:6.1%}  {name}" for name, share in self.per_class.items()]
        return "\n".join([*lines, self.data])


def evaluate(run: str | Path, *, split: str = "test", views: int = 3) -> EvaluateResult:
    """Measure a finished run's model; writes `evaluation.json` into its folder.

    Scores of `views` clips, evenly spread over a video, are averaged as probabilities. Raises `UserError`
    if the run is unfinished or its data are gone.
    """
    check.positive("views", views)
    folder = Path(run)
    if not (folder / "model.safetensors").is_file():
        raise UserError(f"{folder} holds no finished run; run `raymaskdp train` to its end first.")
    config = configuration.load(TrainConfig, folder / "config.yaml")
    store = ClipStore.open(config.data)
    model = loop.build(replace(config, init=None), store)
    models.load_weights(folder / "model.safetensors", model)
    truth, named = classify(model.eval(), store, config.clips, split=split, views=views)
    result = _score(truth, named, store.classes, run=str(folder), split=split, views=views)
    write_json(folder / "evaluation.json", asdict(result))
    return result


@torch.no_grad()
def classify(
    model: nn.Module, store: ClipStore, config: clips.ClipConfig, *, split: str, views: int
) -> tuple[np.ndarray, np.ndarray]:
    """True and named class of each video of a split, int64 [videos] each."""
    truth, named = [], []
    for video in store.split(split):
        drawn = clips.evenly(store, video, views, config)
        scores_BC = model(clips.full_views(drawn, store.fill)).softmax(dim=1)
        named.append(int(scores_BC.mean(dim=0).argmax()))
        truth.append(store.classes.index(str(video.label)))
    return np.array(truth), np.array(named)


def _score(
    truth: np.ndarray, named: np.ndarray, classes: tuple[str, ...], *, run: str, split: str, views: int
) -> EvaluateResult:
    confusion = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(confusion, (truth, named), 1)
    present = [number for number in range(len(classes)) if confusion[number].any()]
    per_class = {classes[n]: float(confusion[n, n] / confusion[n].sum()) for n in present}
    return EvaluateResult(
        run=run,
        split=split,
        videos=len(truth),
        views=views,
        top1=float((truth == named).mean()),
        mean_class=float(np.mean(list(per_class.values()))),
        per_class=per_class,
        classes=classes,
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
    )
