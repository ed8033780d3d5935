"""The command line: help for everything, one sentence for a mistake, JSON for machines."""

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from raymaskdp import cli, config
from raymaskdp.synthetic.config import SynthesizeConfig

PLAN = ["num_records=100", "expected_batch=10", "steps=5"]


def commands(group: click.Group, *names: str) -> Iterator[tuple[str, ...]]:
    yield names
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *names, name)
        else:
            yield (*names, name)


@pytest.mark.parametrize("names", list(commands(cli.cli)), ids=" ".join)
def test_every_command_has_help(names: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*names, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"Usage: raymaskdp {' '.join(names)}".strip())
    # A sentence of its own, and for leaves the way to a machine's answer.
    assert len(text.split("\n\n")[1].strip()) > 10
    assert "Commands:" in text or "--json" in text


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["--help"])
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in cli.cli.commands)


@pytest.mark.parametrize(
    "names", [("anonymize",), ("prepare",), ("train",), ("sweep",), ("dataset", "synthesize")]
)
def test_defaults_are_yaml(names: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*names, "--defaults"]) == 0
    assert isinstance(yaml.safe_load(capsys.readouterr().out), dict)


def test_defaults_load_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["dataset", "synthesize", "--defaults"])
    path = tmp_path / "synthesize.yaml"
    path.write_text(capsys.readouterr().out)
    assert config.load(SynthesizeConfig, path) == SynthesizeConfig()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["anonymize", "nowhere.mp4", "--out", "out"], "nowhere.mp4 does not exist"),
        (["anonymize", ".", "--out", "out", "poes.model=x"], "did you mean 'pose'"),
        (["anonymize", "."], "--out"),
        (["prepare", "nowhere", "--out", "clips"], "nowhere"),
        (
            ["train"],
            "(`raymaskdp train DATA KEY=VALUE …`) or in the file of --config, and privacy.epsilon",
        ),
        (["anonymize", "x"], "Missing option '--out'; see `raymaskdp anonymize --help`"),
        (["anonymize", "x", "--out", "y", "pose.batch=0"], "pose.batch must be in [1, 1024], but it is 0."),
        (["anonymize", "x", "--out", "y", "pose.batch=a"], "pose.batch must be a whole number"),
        (
            ["train", "x", "workers=2"],
            "Unknown setting 'workers' in the command; did you mean 'compute.workers'",
        ),
        (
            ["anonymize", "x", "--out", "y", "verify.hands=-1"],
            "verify.hands must be in (0, 1], but it is -1.0",
        ),
        (["train", "--config", "nowhere.yaml"], "nowhere.yaml"),
        (["train", "x", "privacy.epsilon=-1"], "epsilon"),
        (["train", "x", "privacy.epsilon=0"], "epsilon"),
        (["train", "nowhere", "privacy.epsilon=1"], "nowhere"),
        (["train", "x", "privacy.epsilom=1"], "did you mean 'privacy.epsilon'"),
        # What is wrong is said before what is missing.
        (["train", "x"], "The setting privacy.epsilon is missing in the command; give it as KEY=VALUE"),
        (["train", "x", "privacy.delta=2"], "privacy.delta must be in (0, 1)"),
        (["train", "stepz=1"], "Unknown setting 'stepz'"),
        (["train", "steps=many"], "steps must be a whole number, but it is 'many'"),
        (["train", "x", "clips.size=5"], "clips.size must be a list of 2: [a whole"),
        (["sweep", "--out", "y"], "and train.privacy.epsilon as KEY=VALUE"),
        (["evaluate", "nowhere"], "nowhere"),
        (["report", "nowhere"], "nowhere"),
        (["privacy", "sigma", *PLAN, "epsilon=0"], "epsilon"),
        (["privacy", "epsilon", *PLAN, "noise_multiplier=-1"], "noise_multiplier"),
        (["privacy", "verify", "nowhere.jsonl"], "nowhere.jsonl"),
        (["no-such-command"], "no-such-command"),
        # What was spelt otherwise once says how it is spelt now.
        (["train", "data=x", "privacy.epsilon=1"], "data=x is now given as x"),
        (["train", "x", "out=y", "privacy.epsilon=1"], "out=y is now given as --out y"),
        (["sweep", "train.data=x"], "train.data=x is now given as x"),
        (["prepare", "x", "--out", "y", "--workers", "2"], "--workers is given as workers=VALUE now"),
        (["evaluate", "x", "--views", "2"], "--views is given as views=VALUE now"),
        (["anonymize", "x", "--out", "y", "--pose-model", "z"], "pose.landmarks=FILE now"),
        (["privacy", "sigma", "--num-records", "2"], "--num-records is given as num_records=VALUE now"),
        (["review", "x", "--page", "y"], "--page is given as --out FILE now"),
        (["train", "--epsilon=2"], "--epsilon is given as privacy.epsilon=VALUE now"),
        (["train", "clips", "--workers", "3"], "--workers is given as compute.workers=VALUE now"),
        (["train", "--epsilo=2"], "There is no option --epsilo; settings are given as KEY=VALUE, see `"),
        (["train", "x", "--jso"], "Did you mean"),
        (["benchmark", "nope"], "No such command 'nope'; see `raymaskdp benchmark --help`."),
        (["audit", "anonymization", "x", "--sources", "y"], "a second place"),
        (["anonymize", "x", "--out", "y", "pieces=z"], "it is now called 'chunks'"),
        (["anonymize", "x", "--out", "y", "piece_seconds=9"], "it is now called 'chunk_seconds'"),
        (["submit", "anonymize", "x", "--out", "y", "pieces=z"], "it is now called 'chunks'"),
        (["plan", "x"], "The command plan is called estimate now"),
        (["benchmark", "plan"], "The command plan is called estimate now"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_mistake_is_one_sentence(
    arguments: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("raymaskdp: ")
    assert sentence in printed.err
    assert "Traceback" not in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())

    if "--out" in arguments or arguments[0] in ("train", "evaluate", "report"):
        assert cli.main([*arguments, "--json"]) == 2
        assert sentence in json.loads(capsys.readouterr().out)["error"]


@pytest.mark.parametrize(
    ("arguments", "setting"),
    [(["pose.landmarks=nowhere.onnx"], "pose.landmarks"), (["body=nowhere.npz"], "body")],
)
def test_files_that_settings_name_are_looked_for_before_workers_start(
    arguments: list[str], setting: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    assert cli.main(["anonymize", str(tmp_path / "a.mp4"), "--out", str(tmp_path / "out"), *arguments]) == 2
    assert f"The setting {setting} names nowhere" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_cache_that_is_a_file_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("RAYMASKDP_CACHE", str(tmp_path / "cache"))
    assert cli.main(["models", "pull"]) == 2
    assert f"{tmp_path / 'cache'} is a file, and " in capsys.readouterr().err
    assert (tmp_path / "cache").read_text() == "a file"


def test_a_ledger_that_is_none_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "film.mp4").write_bytes(bytes(range(256)))
    for path, what in (
        (tmp_path / "film.mp4", "is not a ledger"),
        (tmp_path, "No such file"),
        (tmp_path / "x", "No"),
    ):
        assert cli.main(["privacy", "verify", str(path)]) == 2
        printed = capsys.readouterr().err
        assert what in printed
        assert "Errno" not in printed
    assert (
        cli.main(
            ["anonymize", str(tmp_path / "film.mp4"), "--out", "o", "--config", str(tmp_path / "film.mp4")]
        )
        == 2
    )
    assert "is not YAML" in capsys.readouterr().err
