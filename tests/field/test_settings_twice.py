"""Settings that are given twice, or nested beyond reading, are said and not guessed."""

from pathlib import Path

import pytest

from raymaskdp import config
from raymaskdp.anonymize import AnonymizeConfig
from raymaskdp.cli import main
from raymaskdp.errors import UserError
from raymaskdp.train.config import TrainConfig


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("privacy:\n  epsilon: 1\n  delta: 1e-5\n  epsilon: 50\n", "'epsilon' twice, in lines 2 and 4"),
        ("steps: 1\nprivacy: {epsilon: 1, epsilon: 50}\n", "'epsilon' twice, in line 2"),
        ("steps: 1\n# and\nsteps: 1\n", "'steps' twice, in lines 1 and 3"),
        ("clips: " + "[" * 3000 + "\n", "is nested too deeply"),
        ("steps: 2020-13-45\n", "is not valid YAML: month must be"),
    ],
)
def test_a_file_of_settings_that_can_be_read_in_two_ways_is_refused(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=said) as error:
        config.load(TrainConfig, path)
    assert str(error.value).startswith(f"{path} ")


def test_what_is_merged_may_be_given_again(tmp_path: Path) -> None:
    """A merge gives defaults; it is how YAML says a thing twice on purpose."""
    path = tmp_path / "settings.yaml"
    path.write_text("pose: &p {veto: true}\nplate:\n  <<: {min_visible: 0.5}\n  min_visible: 0.25\n")
    assert config.load(AnonymizeConfig, path).plate.min_visible == 0.25


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["steps=1", "steps=2"], "The setting steps is given twice;"),
        (["privacy={epsilon: 1}", "privacy.epsilon=50"], "as privacy and as privacy.epsilon"),
        (["privacy.epsilon=50", "privacy={epsilon: 1}"], "as privacy.epsilon and as privacy"),
        (["steps=" + "[" * 3000], "The value of steps is nested too deeply"),
    ],
)
def test_a_setting_is_given_once_on_the_command_line(given: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        config.load(TrainConfig, None, given)
    neighbours = config.load(TrainConfig, None, ["data=x", "out=y", "steps=1", "privacy.epsilon=1"])
    assert neighbours.steps == 1


def test_a_setting_within_one_that_is_no_group_is_said(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("steps: 3\n")
    with pytest.raises(UserError, match="not a group of settings"):
        config.load(TrainConfig, tmp_path / "settings.yaml", ["steps.deep=1"])


def test_an_option_is_given_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert main(["anonymize", str(tmp_path), "--out", out[0], "--out", out[1]]) == 2
    assert "--out is given twice" in capsys.readouterr().err
