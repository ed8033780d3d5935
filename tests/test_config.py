"""Configuration: what is read is what was written, and mistakes are named."""

import dataclasses
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymaskdp import config
from raymaskdp.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimizer:
    name: Literal["sgd", "adamw"] = "adamw"
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    steps: int
    data: Path | None = None
    noise: float | Literal["auto"] = "auto"
    sizes: tuple[int, ...] = (1, 2)
    optimizer: Optimizer = dataclasses.field(default_factory=Optimizer)


def optimizers() -> st.SearchStrategy[Optimizer]:
    number = st.floats(0, 1)
    return st.builds(
        Optimizer,
        name=st.sampled_from(["sgd", "adamw"]),
        learning_rate=number,
        betas=st.tuples(number, number),
    )


trainings = st.builds(
    Training,
    steps=st.integers(0, 10**6),
    data=st.none() | st.sampled_from([Path("a/b"), Path("ä b.mp4")]),
    noise=st.just("auto") | st.floats(0, 10),
    sizes=st.lists(st.integers(0, 9)).map(tuple),
    optimizer=optimizers(),
)


@given(trainings)
def test_yaml_round_trip(tmp_path_factory: pytest.TempPathFactory, training: Training) -> None:
    path = tmp_path_factory.mktemp("config") / "training.yaml"
    path.write_text(config.to_yaml(training))
    again = config.load(Training, path)
    assert again == training
    assert config.digest(again) == config.digest(training)


@given(trainings, trainings)
def test_digest_tells_configurations_apart(one: Training, other: Training) -> None:
    assert (config.digest(one) == config.digest(other)) == (one == other)


def test_overrides_reach_nested_settings() -> None:
    training = config.load(Training, None, ["steps=3", "optimizer.learning_rate=1e-5", "optimizer.name=sgd"])
    assert training == Training(steps=3, optimizer=Optimizer(learning_rate=1e-5, name="sgd"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "setting steps is missing"),
        (["steps=3", "optimiser.name=sgd"], "did you mean 'optimizer'"),
        (["steps=3", "optimizer.lerning_rate=1"], "did you mean 'optimizer.learning_rate'"),
        (["steps=many"], "steps must be a whole number"),
        (["steps=true"], "steps must be a whole number"),
        (["steps=3", "optimizer.name=lion"], "must be one of sgd, adamw"),
        (["steps=3", "optimizer.betas=[1]"], "betas"),
        (["steps=3", "steps.deep=1"], "is given twice, as steps and as steps.deep"),
        (["steps"], "key=value"),
    ],
)
def test_mistakes_are_named(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        config.load(Training, None, overrides)


@pytest.mark.parametrize("text", ["- 1\n- 2\n", "a: [1\n", "!!python/object/apply:os.getcwd []\n"])
def test_files_that_are_no_mapping(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"bad\.yaml"):
        config.load(Training, path)


def test_missing_file() -> None:
    with pytest.raises(UserError, match="nowhere"):
        config.load(Training, "nowhere.yaml")
