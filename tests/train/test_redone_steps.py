"""A step that is redone has its old noise only where everything that makes its sum is as it was."""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.changes import changed

from raymaskdp.errors import UserError
from raymaskdp.models.names import MODEL_NAMES
from raymaskdp.models.registry import MODELS, ModelEntry
from raymaskdp.privacy import read_ledger
from raymaskdp.report.trainings import read_run
from raymaskdp.train import ClipStore, TrainConfig, train
from raymaskdp.train.data import clips
from raymaskdp.train.guarantee import step_circumstances
from raymaskdp.train.guarantee.check import verify
from raymaskdp.train.run.curve import StepReport
from raymaskdp.train.run.identity import run_digest


class Killed(BaseException):
    """The process ends here."""


def killed_at(step: int) -> Callable[[StepReport], None]:
    def stop(report: StepReport) -> None:
        if report.step == step:
            raise Killed

    return stop


def keys_of(config: TrainConfig) -> list[set[str]]:
    """The keys whose noise each step was released with."""
    (ledger,) = config.out.glob("*/ledger.jsonl")
    releases = read_ledger(ledger).releases
    return [{key for key, of in releases if of == step} for step in range(config.steps)]


@pytest.fixture
def unsaved(base: TrainConfig) -> TrainConfig:
    """A run that begins anew where it is killed before its end."""
    return changed(base, steps=12, compute__checkpoint_every=8)


def test_nothing_is_counted_again_where_all_is_as_it_was(unsaved) -> None:
    with pytest.raises(Killed):
        train(unsaved, on_step=killed_at(3))
    train(unsaved)
    assert [len(keys) for keys in keys_of(unsaved)] == [1] * 12


def test_a_clip_that_could_not_be_read_and_can_be_now_is_another_sum(unsaved, monkeypatch) -> None:
    drawn = clips.draw

    def unreadable(store, record, number, config):
        if record.name.endswith(("3", "5", "7")):
            raise OSError(5, "Input/output error")
        return drawn(store, record, number, config)

    monkeypatch.setattr(clips, "draw", unreadable)
    with pytest.raises(Killed):
        train(unsaved, on_step=killed_at(3))
    monkeypatch.setattr(clips, "draw", drawn)
    result = train(unsaved)
    assert [len(keys) for keys in keys_of(unsaved)[:3]] == [2, 2, 2]
    assert (result.steps, result.updates) == (12, 9)  # and the three are paid for


def test_a_model_whose_code_has_changed_is_another_sum(unsaved, monkeypatch) -> None:
    with pytest.raises(Killed):
        train(unsaved, on_step=killed_at(3))
    monkeypatch.setattr(step_circumstances, "code_of", lambda model: "of another version")
    train(unsaved)
    assert [len(keys) for keys in keys_of(unsaved)[:4]] == [2, 2, 2, 1]


def test_the_code_of_an_installed_model_is_known_by_its_content(tmp_path, monkeypatch) -> None:
    package = tmp_path / "a_package_with_a_model"
    package.mkdir()
    code = "class Options: pass\ndef build(options, clip, num_classes): return {}\n"
    (package / "__init__.py").write_text("")
    (package / "model.py").write_text(code.format(1))
    monkeypatch.syspath_prepend(str(tmp_path))
    from a_package_with_a_model import model  # type: ignore[import-not-found]

    monkeypatch.setattr(MODEL_NAMES, "built_in", [*MODEL_NAMES.built_in, "theirs"])
    monkeypatch.setitem(MODELS.built_in, "theirs", ModelEntry(model.Options, model.build))
    code_of = step_circumstances.code_of.__wrapped__
    before = code_of("theirs")
    assert before == code_of("theirs") != code_of("vit-s-16")
    (package / "model.py").write_text(code.format(2))
    assert code_of("theirs") != before
    monkeypatch.delitem(sys.modules, "a_package_with_a_model.model")
    monkeypatch.delitem(sys.modules, "a_package_with_a_model")
    assert code_of("theirs") is None  # of no file: never the same again


def test_classes_in_another_order_are_another_run(base) -> None:
    store = ClipStore.open(base.data)
    names = tuple(store.classes)
    digests = {run_digest(base, replace(store, declared=order)) for order in ((), names, names[::-1])}
    assert len(digests) == 3


def test_a_ledger_that_is_cut_short_is_noticed_beside_its_result(base, tmp_path) -> None:
    run = Path(train(changed(base, privacy__delta=0.1)).run)
    assert "delta" in " ".join(verify(run).warnings)  # above one over the records
    lines = (run / "ledger.jsonl").read_text().splitlines(keepends=True)
    (run / "ledger.jsonl").write_text("".join(lines[:-2]))
    with pytest.raises(UserError, match="lines are missing at its end"):
        verify(run)
    shutil.move(run / "ledger.jsonl", tmp_path / "ledger.jsonl")
    assert verify(tmp_path / "ledger.jsonl").steps_spent == base.steps - 2


def test_a_ledger_of_another_plan_is_noticed_beside_its_own(base) -> None:
    run, other = (Path(train(changed(base, privacy__noise_multiplier=s)).run) for s in (1.0, 9.0))
    shutil.copy(other / "ledger.jsonl", run / "ledger.jsonl")
    with pytest.raises(UserError, match=r"is of another plan than .*plan\.json beside it"):
        verify(run)


def test_the_report_has_the_price_of_the_model_and_not_of_its_last_run(base) -> None:
    first = train(base)
    second = train(changed(base, init=Path(first.run) / "model.safetensors", steps=4))
    assert second.model_epsilon is not None
    assert second.epsilon is not None
    assert second.model_epsilon > max(second.epsilon, first.epsilon or 0)
    shown = read_run(Path(second.run), root=base.out)
    assert f"up to ε = {second.model_epsilon:.3g}" in shown.sentence
    assert "initial weights come from" in shown.sentence
    assert shown.headline[-1].value == f"{second.model_epsilon:.3g}"
    assert first.model_epsilon is None


def test_a_checkpoint_that_is_put_back_gets_other_noise(unsaved, tmp_path) -> None:
    """That of an earlier attempt, beside the ledger of a later one."""
    saving = changed(unsaved, compute__checkpoint_every=2)
    with pytest.raises(Killed):
        train(saving, on_step=killed_at(3))
    (checkpoint,) = saving.out.glob("*/checkpoint.safetensors")
    shutil.move(checkpoint, tmp_path / "copy")
    otherwise = changed(saving, compute__micro_batch=3)
    with pytest.raises(Killed):
        train(otherwise, on_step=killed_at(3))
    shutil.copy(tmp_path / "copy", checkpoint)
    with pytest.raises(Killed):
        train(otherwise, on_step=killed_at(3))
    assert [len(keys) for keys in keys_of(saving)[:4]] == [2, 2, 3, 0]


def test_the_variables_of_libraries_are_circumstances(unsaved, monkeypatch) -> None:
    with pytest.raises(Killed):
        train(unsaved, on_step=killed_at(3))
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    train(unsaved)
    assert [len(keys) for keys in keys_of(unsaved)[:3]] == [2, 2, 2]


@pytest.mark.parametrize("library", ["raymaskdp", "torch", "numpy", "transformers"])
def test_another_version_of_a_library_is_another_sum(unsaved, monkeypatch, library) -> None:
    with pytest.raises(Killed):
        train(unsaved, on_step=killed_at(3))
    modules = {"torch": torch, "numpy": np}
    if library in modules:
        monkeypatch.setattr(modules[library], "__version__", f"{modules[library].__version__}.post1")
    else:
        installed = importlib.metadata.version
        monkeypatch.setattr(
            importlib.metadata, "version", lambda name: installed(name) + ".post1" * (name == library)
        )
    train(unsaved)
    assert [len(keys) for keys in keys_of(unsaved)[:3]] == [2, 2, 2]


def test_other_cached_features_are_another_sum(unsaved) -> None:
    """They were removed and made again elsewhere, with other rounding."""
    linear = changed(unsaved, scheme="linear", seed=23)
    with pytest.raises(Killed):
        train(linear, on_step=killed_at(3))
    newest = max(
        (Path(linear.data) / "features").glob("*.safetensors"), key=lambda path: path.stat().st_mtime
    )
    bank = {name: value.clone() for name, value in load_file(newest).items()}
    save_file({**bank, "full": bank["full"] * (1 + 1e-6)}, newest)
    train(linear)
    assert [len(keys) for keys in keys_of(linear)[:3]] == [2, 2, 2]
