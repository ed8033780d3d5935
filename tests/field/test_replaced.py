"""Outputs of one video are not lost to another of the same id, nor to a try that failed."""

import os
from pathlib import Path

import pytest
from support.field_films import Films, Run
from support.samples import everything

from raymaskdp.anonymize.output.manifest import read_manifest
from raymaskdp.errors import UserError

REPLACED = "would replace it"


def test_what_is_typed_from_another_folder_is_another_video(
    films: Films, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    films.put(tmp_path / "p1/a.mp4", tmp_path / "p2/a.mp4")
    monkeypatch.chdir(tmp_path / "p1")
    run("a.mp4", Path("../out"))
    assert read_manifest(tmp_path / "out")["a"].source == str(tmp_path / "p1/a.mp4")
    before = everything(tmp_path / "out")
    monkeypatch.chdir(tmp_path / "p2")
    for typed in ("a.mp4", "./a.mp4", os.path.abspath("a.mp4")):
        with pytest.raises(UserError, match=REPLACED):
            run(typed, Path("../out"))
    assert everything(tmp_path / "out") == before
