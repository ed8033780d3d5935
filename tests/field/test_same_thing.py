"""What was made of one thing is replaced only by what is made of the same, whichever command it is."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from support.field_films import Films
from support.samples import everything, write_anonymized

from raymaskdp import files
from raymaskdp.audit import AnonymizationAuditConfig, TrainingAuditConfig, audit_anonymization, audit_training
from raymaskdp.datasets.importing import import_dataset
from raymaskdp.errors import UserError
from raymaskdp.report import report
from raymaskdp.report.pictures.contact_sheet import sheet
from raymaskdp.report.review import review
from raymaskdp.synthetic.config import SynthesizeConfig
from raymaskdp.synthetic.synthesize import synthesize

OTHER = "exists already and was made of"
COMMANDS: dict[str, tuple[str, Callable[[Path, Path], object]]] = {
    "report": ("page.html", lambda run, path: report(run, path)),
    "review": ("page.html", lambda run, path: review(run, path)),
    "sheet": ("sheet.png", lambda run, path: sheet(run, path)),
}


def two_runs(folder: Path) -> tuple[Path, Path]:
    runs = folder / "a", folder / "b"
    for videos, run in enumerate(runs, 1):
        write_anonymized(run, train=videos, test=0)
        table = pd.read_parquet(run / "manifest.parquet")
        table["num_frames"] = 14
        table.to_parquet(run / "manifest.parquet")
    return runs


@pytest.mark.parametrize("name", COMMANDS)
def test_no_page_of_another_run_is_replaced(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two_runs(tmp_path)
    place, command = COMMANDS[name]
    path = tmp_path / "pages" / place
    command(first, path)
    before = everything(tmp_path / "pages")
    with pytest.raises(UserError, match=OTHER) as said:
        command(second, path)
    assert str(first) in str(said.value)
    assert everything(tmp_path / "pages") == before
    monkeypatch.chdir(tmp_path)
    command(Path("a"), path)  # of the same, however it is typed
    if name == "review":
        return  # its pages show people as they are, and may not lie among what is passed on
    shutil.move(tmp_path / "pages", first / "pages")
    command(first, first / "pages" / place)  # and wherever it lies
    first.rename(tmp_path / "c")
    command(tmp_path / "c", tmp_path / "c/pages" / place)
    (tmp_path / "c/pages" / place).unlink()
    command(second, tmp_path / "c/pages" / place)  # it is gone, so that nothing is lost
    with pytest.raises(UserError, match=OTHER):
        command(tmp_path / "c", tmp_path / "c/pages" / place)


def test_tables_beside_a_page_are_that_pages(tmp_path: Path) -> None:
    first, second = two_runs(tmp_path)
    report(first, tmp_path / "r.html")
    before = everything(tmp_path / "r-files")
    report(second, tmp_path / "r.htm")
    assert everything(tmp_path / "r-files") == before


def test_no_page_of_a_version_before_is_taken_for_anothers(tmp_path: Path) -> None:
    """It does not say of what it was made, and a page of the same must be renewable."""
    (run, _) = two_runs(tmp_path)
    files.write_text(tmp_path / "r.html", "old")
    report(run, tmp_path / "r.html")


def test_no_audit_of_another_run_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before its work; the place by default is the same for every run."""
    monkeypatch.chdir(tmp_path)
    files.write_json(tmp_path / "audit-training/audit.json", {}, of=tmp_path / "runs/a")
    with pytest.raises(UserError, match=f"{OTHER}.*runs/a, not of the reference plan"):
        audit_training(None, settings=TrainingAuditConfig(models=0))
    first, second = two_runs(tmp_path)
    monkeypatch.setattr("raymaskdp.audit.anonymization.find_cases", lambda *_, **__: [])
    files.write_json(tmp_path / "found/audit.json", {}, of=first)
    with pytest.raises(UserError, match=OTHER):
        audit_anonymization(second, second, tmp_path / "found", AnonymizationAuditConfig())


def test_no_table_of_another_dataset_is_replaced(films: Films, tmp_path: Path) -> None:
    for name in ("a", "b"):
        films.put(tmp_path / name / "train/wave/x.mp4")
    table = tmp_path / "m.parquet"
    import_dataset("folders", tmp_path / "a", table)
    before = table.read_bytes()
    with pytest.raises(UserError, match=OTHER):
        import_dataset("folders", tmp_path / "b", table)
    assert table.read_bytes() == before
    import_dataset("folders", tmp_path / "a", table)


def test_no_other_films_are_drawn_into_a_folder(tmp_path: Path) -> None:
    drawn = SynthesizeConfig(people=1, actions=("wave",), frames=1, width=64, height=48)
    synthesize(tmp_path / "data", drawn)
    before = everything(tmp_path / "data")
    with pytest.raises(UserError, match="has sample data with other settings"):
        synthesize(
            tmp_path / "data", SynthesizeConfig(people=1, actions=("wave",), frames=2, width=64, height=48)
        )
    assert everything(tmp_path / "data") == before
