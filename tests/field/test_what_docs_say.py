"""What pages state of defaults and places is what the code does."""

import re
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from raymaskdp.anonymize import AnonymizeConfig
from raymaskdp.anonymize.background.config import PlateConfig
from raymaskdp.anonymize.output import folders
from raymaskdp.errors import UserError

DOCS = Path(__file__).parents[2] / "docs"


def values_of(config: object, prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for field in fields(config):  # type: ignore[arg-type]
        value = getattr(config, field.name)
        if is_dataclass(value):
            found |= values_of(value, f"{prefix}{field.name}.")
        else:
            found[f"{prefix}{field.name}"] = value
    return found


def test_the_table_of_moving_cameras_has_the_choices_and_the_default() -> None:
    text = (DOCS / "anonymize.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)`( \(default\))? \| (?:each|the video)", text, re.MULTILINE)
    assert [name for name, default in rows if default] == [PlateConfig().moving_camera]
    for name, _ in rows:
        PlateConfig(moving_camera=name)
    with pytest.raises(UserError, match=", ".join(["flow", "fill", "blur"])):
        PlateConfig(moving_camera="quarantine")
    assert {name for name, _ in rows} == {"flow", "fill", "blur"}


def test_defaults_in_brackets_are_those_of_the_code() -> None:
    text = (DOCS / "anonymize.md").read_text(encoding="utf-8")
    values = values_of(AnonymizeConfig())
    said = re.findall(r"`([a-z_.]+)`\s\(([\d.]+)(?: pixel)?\)", text)
    assert {"plate.shared_videos", "chunk_seconds", "plate.max_drift_px"} <= {name for name, _ in said}
    for name, value in said:
        assert float(value) == values[name], name


def test_where_chunks_lie_inside_an_output_folder_is_said() -> None:
    name = folders.inside(Path("DIR"), folders.CHUNKS).name
    for page in ("anonymize.md", "faq.md"):
        assert name in (DOCS / page).read_text(encoding="utf-8")
