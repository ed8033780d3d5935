"""Metrics against scikit-learn, and evaluation of pictures with classes and with findings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from raymaskdp import cli
from raymaskdp.datasets.manifest import VideoRecord, write_table
from raymaskdp.errors import UserError
from raymaskdp.models import ModelConfig
from raymaskdp.train import (
    ClipConfig,
    ClipStore,
    ComputeConfig,
    OptimizerConfig,
    PrepareConfig,
    PrivacyConfig,
    TrainConfig,
    evaluate,
    metrics,
    prepare,
    train,
)

sklearn_metrics = pytest.importorskip("sklearn.metrics")
RNG = np.random.default_rng(0)


@pytest.mark.parametrize("levels", [3, 1000])
def test_auroc_is_scikit_learn_s(levels) -> None:
    scores = RNG.integers(0, levels, 200) / levels  # few levels: many ties
    there = RNG.random(200) < 0.3
    assert metrics.auroc(scores, there) == pytest.approx(sklearn_metrics.roc_auc_score(there, scores))
    assert metrics.auroc(scores, np.ones(200, dtype=bool)) is None
    assert metrics.auroc(scores, np.zeros(200, dtype=bool)) is None


@pytest.mark.parametrize("count", [1, 2, 5])
def test_top_is_scikit_learn_s(count) -> None:
    scores, truth = RNG.random((300, 8)), RNG.integers(0, 8, 300)
    expected = sklearn_metrics.top_k_accuracy_score(truth, scores, k=count, labels=np.arange(8))
    assert metrics.top(scores, truth, count) == pytest.approx(expected)


def test_confusion_is_scikit_learn_s() -> None:
    named, truth = RNG.integers(0, 4, (2, 100))
    expected = sklearn_metrics.confusion_matrix(truth, named, labels=np.arange(4))
    np.testing.assert_array_equal(metrics.confusion(named, truth, 4), expected)


def pictures(folder: Path, *, findings: bool) -> Path:
    """A store of 90 pictures: a bright square at the left, right, both or neither."""
    rng = np.random.default_rng(1)
    records = []
    for number in range(90):
        left, right = bool(number & 1), bool(number & 2)
        image = rng.integers(0, 60, (12, 16, 3), dtype=np.uint8)
        image[3:9, 1:6] += 150 * np.uint8(left)
        image[3:9, 10:15] += 150 * np.uint8(right)
        path = folder / "pictures" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image)
        label = "|" + "left|" * left + "right|" * right if findings else f"{left}-{right}"
        split = "train" if number < 60 else "test"
        records.append(
            VideoRecord(
                video_id=f"p{number}", path=str(path), label=label, split=split, subject=f"s{number % 9}"
            )
        )
    write_table(folder / "manifest.parquet", records)
    prepare(folder / "manifest.parquet", folder / "store", PrepareConfig(width=16, height=12))
    return folder / "store"


def settings(store: Path, out: Path) -> TrainConfig:
    return TrainConfig(
        data=store,
        out=out,
        steps=60,
        model=ModelConfig(options={"width": 16, "depth": 1, "heads": 2, "tubelet": [1, 4, 4]}),
        clips=ClipConfig(frames=1, stride=1, draws=4, shift=1, flip=False),
        privacy=PrivacyConfig(mechanism="sgd", clips=1, expected_batch=30),
        optimizer=OptimizerConfig(name="adamw", learning_rate=0.01),
        compute=ComputeConfig(workers=0, progress=False, tensorboard=False),
    )


def test_pictures_are_videos_of_one_frame(tmp_path) -> None:
    store = ClipStore.open(pictures(tmp_path, findings=False))
    frames, sensitive = store.read(3, np.array([0]))
    original = cv2.imread(str(tmp_path / "pictures/3.png"))[:, :, ::-1]
    np.testing.assert_array_equal(frames[0], original)
    assert sensitive.all()  # nothing of a plain picture is public
    assert store.videos[3].num_frames == 1
    (tmp_path / "pictures/5.png").write_bytes(b"no picture")
    (tmp_path / "pictures/6.png").write_bytes(b"")
    failed = prepare(
        tmp_path / "manifest.parquet", tmp_path / "again", PrepareConfig(width=16, height=12)
    ).failed
    assert set(failed) == {"p5", "p6"}
    assert "is not a picture" in failed["p5"]


def test_classes_of_pictures_and_the_change_against_a_baseline(tmp_path) -> None:
    config = settings(pictures(tmp_path, findings=False), tmp_path / "runs")
    run, other = train(config), train(replace(config, steps=1))
    with pytest.raises(UserError, match="was not evaluated"):
        evaluate(run.run, baseline=other.run)
    worse = evaluate(other.run)
    measured = evaluate(run.run, baseline=other.run)
    assert measured.metric == "top1"
    assert measured.score == measured.top1 > 0.9 > worse.score
    assert measured.top5 == 1.0  # of four classes
    for name, change in measured.change.items():
        assert change == pytest.approx(measured.per_class[name] - worse.per_class[name])
    assert Path(measured.plot).stat().st_size > 5000
    assert Path(measured.plot).with_suffix(".svg").is_file()
    assert json.loads((Path(run.run) / "evaluation.json").read_text())["change"] == measured.change
    plain = (Path(run.run) / "evaluation.json").read_text()
    assert cli.main(["evaluate", run.run, f"baseline={other.run}", "views=3"]) == 0
    assert (Path(run.run) / "evaluation.json").read_text() == plain


def test_findings_are_learned_one_by_one(tmp_path) -> None:
    store = pictures(tmp_path, findings=True)
    assert ClipStore.open(store).classes == ("left", "right")
    config = settings(store, tmp_path / "runs")
    result = train(config)
    measured = evaluate(result.run)
    assert measured.metric == "auroc"
    assert measured.score > 0.8
    assert set(measured.per_class) == {"left", "right"}
    assert (measured.top1, measured.confusion) == (None, ())
    assert "AUROC" in str(measured)
    private = PrivacyConfig(mechanism="dpsgd", epsilon=8.0, delta=1e-3, clips=1, expected_batch=30)
    linear = train(replace(config, scheme="linear", privacy=private, steps=5))  # with cached features
    assert linear.epsilon <= 8.0
    assert 0 <= evaluate(linear.run).score <= 1


def test_labels_and_findings_are_not_mixed(tmp_path) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.zeros((12, 16, 3), np.uint8))
    records = [
        VideoRecord(video_id=str(n), path=str(path), label=label, split="train")
        for n, label in enumerate(["|left|", "left"])
    ]
    write_table(tmp_path / "manifest.parquet", records)
    prepare(tmp_path / "manifest.parquet", tmp_path / "store", PrepareConfig(width=16, height=12))
    with pytest.raises(UserError, match="some labels are sets"):
        ClipStore.open(tmp_path / "store").target("left")


def test_a_baseline_with_other_classes_is_refused(tmp_path) -> None:
    config = settings(pictures(tmp_path, findings=False), tmp_path / "runs")
    run, other = train(replace(config, steps=1)), train(replace(config, steps=2))
    evaluate(other.run)
    path = Path(other.run) / "evaluation.json"
    path.write_text(path.read_text().replace("True-True", "other"))
    with pytest.raises(UserError, match="has other classes"):
        evaluate(run.run, baseline=other.run)
