"""Canaries stay within the price, broken programs are caught, and members show without privacy."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file
from scipy import stats

from raymaskdp import cli
from raymaskdp.audit import TrainingAuditConfig, audit_training
from raymaskdp.audit.attacks import canaries, membership
from raymaskdp.audit.attacks.inversion import invert
from raymaskdp.audit.training import read_audit
from raymaskdp.errors import UserError
from raymaskdp.files import MADE, sha256_file, write_json
from raymaskdp.models import ModelConfig
from raymaskdp.privacy.audit import run_plan
from raymaskdp.train import ClipConfig, ComputeConfig, OptimizerConfig, PrivacyConfig, TrainConfig, train
from raymaskdp.train.data.store import ClipStore
from raymaskdp.video.masks import pack

T, H, W = 6, 16, 16
RECORDS = 24


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of noise with labels at random: whatever is learned is about members."""
    folder = tmp_path_factory.mktemp("noise")
    (folder / "clips").mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for index in range(RECORDS):
        name = f"v{index:02d}"
        np.save(folder / "clips" / f"{name}.frames.npy", rng.integers(0, 256, (T, H, W, 3), dtype=np.uint8))
        sensitive = np.zeros((T, 2, 2), bool)
        sensitive[:, :, 0] = True
        np.save(folder / "clips" / f"{name}.masks.npy", pack(sensitive))
        rows.append(
            {
                "index": index,
                "video_id": name,
                "label": ("a", "b")[int(rng.integers(2))],
                "split": "train",
                "subject": None,
                "camera": None,
                "num_frames": T,
                "sensitive": 0.5,
                "anonymized": True,
                **{
                    f"{part}_sha256": sha256_file(folder / "clips" / f"{name}.{part}.npy")
                    for part in ("frames", "masks")
                },
            }
        )
    pd.DataFrame(rows).to_parquet(folder / "videos.parquet")
    settings = {"height": H, "width": W, "token": 8, "fill": 128}
    write_json(folder / "store.json", {"format": 1, "config": settings, "fingerprint": "noise"})
    return folder


def settings_of(store: Path, out: Path, **privacy: object) -> TrainConfig:
    return TrainConfig(
        data=store,
        out=out,
        steps=40,
        scheme="scratch",
        clips=ClipConfig(frames=4, stride=1, draws=4, shift=0),
        model=ModelConfig(options={"width": 24, "depth": 1, "heads": 2, "tubelet": [2, 8, 8]}),
        privacy=PrivacyConfig(expected_batch=12, delta=1e-2, **{"clips": 1, **privacy}),
        optimizer=OptimizerConfig(name="adamw", learning_rate=5e-3),
        compute=ComputeConfig(
            workers=0, micro_batch=24, checkpoint_every=1000, progress=False, tensorboard=False
        ),
    )


def here(configs: Sequence[TrainConfig], _: Path) -> list[Path]:
    """Train without Ray."""
    return [Path(train(config).run) for config in configs]


@pytest.mark.slow
@pytest.mark.cluster
def test_the_command_audits_a_run_and_writes_what_it_found(
    ray_session: None, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The shadow models of the command are trained on Ray Tune."""
    settings = dataclasses.replace(settings_of(store, tmp_path / "runs", noise_multiplier=2.0), steps=4)
    run = train(settings)
    out = tmp_path / "audit"
    assert cli.main(["audit", "training", run.run, "--out", str(out), "--json", "models=4"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["findings"] == []
    assert shown["canaries"][0]["program"] == "this run's plan"
    assert all(test["as_expected"] for test in shown["canaries"])
    assert {(m["mechanism"], m["attack"]) for m in shown["membership"]} == {
        (mechanism, attack) for mechanism in ("maskdp", "sgd") for attack in ("loss", "LiRA")
    }
    assert shown["inversion"]["not_private"] > 30 > 15 > shown["inversion"]["private"]
    names = {path.name for path in out.iterdir()}
    assert names == {
        "audit.json", "canaries.csv", "inversion.png", "membership.csv", "membership.png", "membership.svg",
        MADE,
    }  # fmt: skip
    assert read_audit(out / "audit.json").run == run.run
    # Of single records nothing is written: each curve is of all of them.
    assert not any(isinstance(value, list) and len(value) == RECORDS for value in _values(shown))


def _values(part: object) -> list[object]:
    if isinstance(part, dict):
        return [part, *(v for child in part.values() for v in _values(child))]
    if isinstance(part, list):
        return [part, *(v for child in part for v in _values(child))]
    return [part]


@pytest.mark.slow
def test_members_show_without_privacy_and_hide_with_it(store: Path, tmp_path: Path) -> None:
    def attack(name: str, **privacy: object) -> dict[str, membership.Membership]:
        work = tmp_path / name
        found = membership.attack_membership(
            settings_of(store, tmp_path, **privacy), work, models=4, seed=0, train_all=here
        )
        return {one.attack: one for one in found}

    plain = attack("plain", mechanism="sgd")
    private = attack("private", mechanism="multiclip", epsilon=1.0)
    assert plain["loss"].auc > 0.8
    assert plain["loss"].at_least > 0.2
    assert plain["loss"].claimed is None
    assert private["loss"].auc < 0.7
    assert private["loss"].claimed == pytest.approx(1.0, abs=0.02)
    assert not private["loss"].found


def test_halves_are_blank_where_masked_and_absent_where_not(store: Path, tmp_path: Path) -> None:
    source = ClipStore.open(store)
    member = np.arange(RECORDS) % 2 == 0
    masked = membership._write_half(source, settings_of(store, tmp_path), member, tmp_path / "masked")
    frames, sensitive = ClipStore.open(masked).read(1, np.arange(T))
    before, _ = source.read(1, np.arange(T))
    assert (frames[sensitive] == 128).all()
    assert (frames[~sensitive] == before[~sensitive]).all()
    assert (ClipStore.open(masked).read(0, np.arange(T))[0] == source.read(0, np.arange(T))[0]).all()
    whole = settings_of(store, tmp_path, mechanism="multiclip")
    left = ClipStore.open(membership._write_half(source, whole, member, tmp_path / "whole"))
    assert len(left.split("train")) == RECORDS // 2
    assert ClipStore.open(masked).fingerprint != source.fingerprint


def test_a_broken_program_that_passes_for_a_right_one_fails(tmp_path: Path, monkeypatch) -> None:
    """The audit must detect faults: if "no noise" has noise after all, this is reported."""
    monkeypatch.setattr(canaries, "no_noise", run_plan)
    blind = audit_training(None, tmp_path / "audit", TrainingAuditConfig(runs=8))
    assert any("no noise" in finding and "must be detected" in finding for finding in blind.findings)


def test_likelihood_ratios_know_hard_records_from_easy_ones() -> None:
    """Every record has a level of its own, which one threshold for all cannot see past."""
    rng = np.random.default_rng(0)
    member = membership._halves(16, 200, 0)
    level = rng.normal(0, 10, 200)
    confidence = level + 2.0 * member + rng.normal(0, 1, member.shape)
    ratios = membership._likelihood_ratios(confidence, member)
    assert np.mean(ratios[member][:, None] > ratios[~member][:500]) > 0.85
    assert np.mean(confidence[member][:, None] > confidence[~member][:500]) < 0.65
    assert (member.sum(0) == 8).all()


@pytest.mark.parametrize("models", [4, 8, 16])
def test_likelihood_ratios_of_no_effect_are_no_better_and_no_worse_than_chance(models: int) -> None:
    rng = np.random.default_rng(models)
    areas = []
    for seed in range(60):
        member = membership._halves(models, 40, seed)
        confidence = rng.normal(0, 3, 40) + rng.normal(0, 1, member.shape)
        ratios = membership._likelihood_ratios(confidence, member)
        inside, outside = ratios[member], ratios[~member]
        areas.append(stats.mannwhitneyu(inside, outside).statistic / (len(inside) * len(outside)))
    low, high = stats.t.interval(0.999, len(areas) - 1, np.mean(areas), stats.sem(areas))
    assert low < 0.5 < high
    assert high - low < 0.06  # and that is no matter of few trials


def test_a_picture_comes_back_from_a_gradient_and_not_from_a_private_update() -> None:
    found, picture = invert(canaries.REFERENCE, seed=0)
    assert found.not_private > 40
    assert found.private < 15
    assert picture.shape == (48, 144, 3)
    again, _ = invert(dataclasses.replace(canaries.REFERENCE, noise_multiplier=1e-6), seed=0)
    assert again.private > 30  # it is the noise that hides it


def test_what_cannot_be_audited_is_said(store: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a finished run"):
        audit_training(tmp_path)
    with pytest.raises(UserError, match="needs a run"):
        audit_training(None, tmp_path, TrainingAuditConfig(models=4))
    with pytest.raises(UserError, match="even number"):
        TrainingAuditConfig(models=3)
    run = train(dataclasses.replace(settings_of(store, tmp_path / "runs", mechanism="sgd"), steps=1))
    assert load_file(Path(run.run) / "model.safetensors")
    with pytest.raises(UserError, match="not private"):
        audit_training(run.run)
