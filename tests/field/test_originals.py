"""A film that was anonymized is shown or used again only if it still is that film, wherever one is."""

import dataclasses
import shutil
from pathlib import Path

import pytest
from support.field_films import Films, Run

from raymaskdp.anonymize.output.manifest import read_manifest, write_manifest
from raymaskdp.errors import UserError
from raymaskdp.report import report
from raymaskdp.report.pictures.contact_sheet import sheet
from raymaskdp.report.review import review
from raymaskdp.train import PrepareConfig, prepare

BLURRED = PrepareConfig(width=32, height=24, token=2, people="blurred")
ANOTHER = "is not the video that was anonymized"


def test_another_film_at_the_place_of_a_source_is_not_shown(
    films: Films, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it was replaced; and where rows of an earlier version are read in another working directory."""
    films.put(tmp_path / "p1/a.mp4", tmp_path / "p2/a.mp4")
    monkeypatch.chdir(tmp_path / "p1")
    run("a.mp4", tmp_path / "out")
    monkeypatch.chdir(tmp_path / "p2")
    report(tmp_path / "out", tmp_path / "page.html", show_sources=True)
    sheet(tmp_path / "out", tmp_path / "sheet.png", show_sources=True)
    assert prepare(tmp_path / "out", tmp_path / "clips", BLURRED).failed == {}

    (row,) = read_manifest(tmp_path / "out").values()
    write_manifest(tmp_path / "out", [dataclasses.replace(row, source="a.mp4")])
    refused(tmp_path, "typed")
    write_manifest(tmp_path / "out", [row])
    shutil.copy(films.b, tmp_path / "p1/a.mp4")
    refused(tmp_path, "replaced")


def refused(folder: Path, name: str) -> None:
    with pytest.raises(UserError, match=ANOTHER):
        report(folder / "out", folder / f"{name}.html", show_sources=True)
    with pytest.raises(UserError, match=ANOTHER):
        sheet(folder / "out", folder / f"{name}.png", show_sources=True)
    with pytest.raises(UserError, match=ANOTHER):
        prepare(folder / "out", folder / name, BLURRED)
    rows = read_manifest(folder / "out")
    held = folder / f"held-{name}"
    write_manifest(
        held, [dataclasses.replace(row, status="quarantined", reason="x") for row in rows.values()]
    )
    page = review(held).page
    assert page is not None
    text = Path(page).read_text()
    assert ANOTHER in text
    assert "data:image" not in text


def test_prepare_takes_no_composite_that_anonymize_did_not_write(
    films: Films, run: Run, tmp_path: Path
) -> None:
    """Such as the source itself, in the place of what was made of it."""
    films.put(tmp_path / "videos/a.mp4", tmp_path / "videos/b.mp4")
    run(tmp_path / "videos", tmp_path / "out")
    shutil.copy(films.a, tmp_path / "out/a.mp4")
    result = prepare(tmp_path / "out", tmp_path / "clips", dataclasses.replace(BLURRED, people="avatar"))
    assert result.videos == 1
    assert "a.mp4 is not the file that anonymize wrote for a" in result.failed["a"]
