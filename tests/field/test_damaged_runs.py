"""What is torn, empty or no file in the folder of a run is named in a sentence, and the rest is shown."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.samples import write_anonymized

from raymaskdp.cli import main
from raymaskdp.errors import UserError
from raymaskdp.models import ModelConfig
from raymaskdp.train import (
    ClipConfig,
    ComputeConfig,
    PrepareConfig,
    PrivacyConfig,
    TrainConfig,
    prepare,
    train,
)
from raymaskdp.train.run.setup import set_up

DAMAGE: dict[str, Callable[[Path], object]] = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:20]),
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(os.urandom(500)),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with anonymized videos and a finished private run."""
    root = tmp_path_factory.mktemp("whole")
    prepare(write_anonymized(root / "a", train=6, test=3), root / "clips", PrepareConfig(width=32, height=24))
    run = Path(train(settings(root)).run)
    run.rename(root / "runs/run")
    return root


def settings(root: Path) -> TrainConfig:
    return TrainConfig(
        data=root / "clips",
        out=root / "runs",
        steps=3,
        clips=ClipConfig(frames=4, stride=2, draws=4, shift=1),
        model=ModelConfig(options={"width": 16, "depth": 1, "heads": 2, "tubelet": [2, 8, 8]}),
        privacy=PrivacyConfig(noise_multiplier=1.0, expected_batch=3, clips=2, delta=1e-2),
        compute=ComputeConfig(workers=0, micro_batch=4, progress=False, tensorboard=False),
    )


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "root", ignore=shutil.ignore_patterns("clips")))


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return status, out, err


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("name", ["a/manifest.parquet", "runs/run/plan.json", "runs/run/result.json"])
def test_status_names_what_is_damaged_and_shows_the_rest(
    name: str, damage: Callable[[Path], object], root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(root / name)
    status, out, err = said(capsys, "status", root)
    assert (status, err) == (0, "")
    shown, named = out.splitlines()
    assert named.startswith(" damaged")
    assert str(root / name) in named
    assert ("anonymize" in shown) == (name != "a/manifest.parquet")
    alone, _, err = said(capsys, "status", (root / name).parent)
    assert alone == 2
    assert err.startswith("raymaskdp: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("damage", ["cut", "empty", "a pipe"])
@pytest.mark.parametrize("name", ["manifest.parquet", "plan.json", "audit.json", "sweep.json"])
def test_one_bad_file_anywhere_below_stops_no_search(
    name: str, damage: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = root / "elsewhere" / name
    bad.parent.mkdir()
    bad.write_bytes(b'{"kind": "anonymization", "result": 1}')
    DAMAGE[damage](bad)
    status, out, err = said(capsys, "status", root)
    assert (status, err) == (0, "")
    assert (str(bad) in out) == (name != "audit.json")
    assert "train, 3 of 3" in out
    status, out, err = said(capsys, "report", root)
    assert (status, err) == (0, "")
    assert "1 trainings" in out
    assert (str(bad) in out) == (name != "plan.json")
    page = (root / "report.html").read_text(encoding="utf-8")
    assert ("Damaged, and left out" in page) == (name != "plan.json")


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("name", ["result.json", "evaluation.json", "ledger.jsonl"])
def test_the_report_leaves_a_damaged_run_out_by_name(
    name: str, damage: Callable[[Path], object], root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = root / "runs/run" / name
    if name == "evaluation.json":
        path.write_text('{"metric": "top1", "score": 0.5, "videos": 3, "split": "test", "data": "here"}')
    damage(path)
    status, out, err = said(capsys, "report", root)
    if name == "evaluation.json" and not path.is_file():  # no evaluation is there
        assert "1 trainings" in out
        return
    assert (status, err) == (0, "")
    assert "10 videos" in out
    assert "0 trainings" in out
    assert str(path) in out.splitlines()[1]
    assert not list((root / "report-files").glob("training*"))


@pytest.mark.parametrize("damage", ["cut", "empty"])
def test_what_was_spent_comes_from_the_ledger(
    damage: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A curve is for eyes: that lines of it are lost takes back nothing that was released."""
    run = root / "runs/run"
    _, before, _ = said(capsys, "status", run)
    assert "3 of 3 steps" in before
    assert "ε = " in before
    DAMAGE[damage](run / "curve.jsonl")
    assert said(capsys, "status", run) == (0, before, "")
    (run / "result.json").unlink()  # as of a run that was killed before its end
    assert before.rpartition("ε = ")[2] == said(capsys, "status", run)[1].rpartition("ε = ")[2]
    DAMAGE[damage](run / "ledger.jsonl")
    assert "its spent ε is unknown" in said(capsys, "status", run)[1]
    (run / "ledger.jsonl").unlink()
    assert "its spent ε is unknown" in said(capsys, "status", run)[1]
    (run / "curve.jsonl").unlink()
    assert "nothing spent" in said(capsys, "status", run)[1]


@pytest.mark.parametrize("name", ["manifest.parquet", "v000.json"])
@pytest.mark.parametrize("damage", ["cut", "a folder"])
def test_prepare_says_what_is_damaged(
    name: str, damage: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    DAMAGE[damage](root / "a" / name)
    _, out, err = said(capsys, "prepare", root / "a", "--out", root / "clips", "width=32", "height=24")
    assert name in f"{out}{err}"
    assert "Traceback" not in err
    assert len([line for line in err.splitlines() if line.startswith("raymaskdp: ")]) <= 1


@pytest.mark.parametrize("name", ["result.json", "model.safetensors"])
def test_a_folder_in_the_place_of_a_last_file_is_said_before_training(
    name: str, whole: Path, tmp_path: Path
) -> None:
    config = replace(settings(whole), out=tmp_path / "runs")
    folder = set_up(config).job.folder
    (folder / name).mkdir(parents=True)
    with pytest.raises(UserError, match="exists already"):
        train(config)
    assert [path.name for path in folder.iterdir()] == [name]  # nothing was spent
