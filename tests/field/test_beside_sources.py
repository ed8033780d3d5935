"""No command puts a file among sources, or into what is passed on; and what it prints stays on its lines."""

import json
from pathlib import Path

import pandas as pd
import pytest
from support.field_films import Films
from support.samples import write_anonymized

from raymaskdp.audit import audit_anonymization
from raymaskdp.cli import main
from raymaskdp.errors import UserError
from raymaskdp.operate.config import EstimateConfig
from raymaskdp.operate.estimate import estimate


@pytest.fixture
def published(films: Films, tmp_path: Path) -> Path:
    """An output folder, made from the videos in `videos` beside it."""
    folder = write_anonymized(tmp_path / "published", train=2, test=1)
    table = pd.read_parquet(folder / "manifest.parquet")
    films.put(*(tmp_path / f"videos/{name}.mp4" for name in table.video_id))
    table["source"] = [str(tmp_path / f"videos/{name}.mp4") for name in table.video_id]
    table.to_parquet(folder / "manifest.parquet")
    return folder


@pytest.mark.parametrize("where", ["videos", "videos/audit", "published", "published/audit", "."])
def test_an_audit_is_not_written_among_sources_or_outputs(
    where: str, published: Path, tmp_path: Path
) -> None:
    there = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match="are the same or one is in the other"):
        audit_anonymization(published, tmp_path / "videos", tmp_path / where)
    assert sorted(tmp_path.rglob("*")) == there


def test_a_profile_is_not_written_over_a_file_of_the_users(films: Films, tmp_path: Path) -> None:
    films.put(tmp_path / "videos/a.mp4")
    (tmp_path / "mine.yaml").write_text("mine")
    with pytest.raises(UserError, match="not unchanged output of this project"):
        estimate(tmp_path / "no such folder", EstimateConfig(save_profile=tmp_path / "mine.yaml"))
    assert (tmp_path / "mine.yaml").read_text() == "mine"


def test_control_characters_of_a_name_stay_on_the_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "a\nb\x1b[2Kc\rd"
    assert main(["status", str(tmp_path / name)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert r"a\x0ab\x1b[2Kc\x0dd" in err
    assert main(["status", str(tmp_path / name), "--json"]) == 2
    assert "error" in json.loads(capsys.readouterr().out)
