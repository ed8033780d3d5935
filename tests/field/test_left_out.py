"""What prepare and dataset import do not take is counted and named, and outputs are never sources to them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from field.test_paths_and_disks import as_nobody
from support.field_films import Films, Run

from raymaskdp.datasets.importing import ImportResult, import_dataset
from raymaskdp.datasets.manifest import read_source
from raymaskdp.errors import UserError
from raymaskdp.train import PrepareConfig, prepare

SIZE = PrepareConfig(width=32, height=24)


def test_prepare_takes_no_output_for_a_plain_video(films: Films, run: Run, tmp_path: Path) -> None:
    """By a table, by a glob, and as a single file: all of it would be sensitive, the avatars too."""
    films.put(tmp_path / "videos/a.mp4", tmp_path / "videos/b.mp4")
    run(tmp_path / "videos", tmp_path / "out")
    (tmp_path / "list.csv").write_text("path,label\nout/a.mp4,x\nvideos/b.mp4,y\n")
    shutil.copy(tmp_path / "out/a.avatar.mp4", tmp_path / "copied.mp4")
    for source in ("list.csv", "out/a.mp4", "out/a.avatar.mp4", "copied.mp4"):
        with pytest.raises(UserError, match=r"was written by this project.* give the output folder"):
            prepare(tmp_path / source, tmp_path / "clips", SIZE)
    assert not (tmp_path / "clips").exists()
    assert prepare(tmp_path / "out", tmp_path / "clips", SIZE).videos == 2


def test_prepare_of_a_copied_manifest_says_what_to_give(films: Films, run: Run, tmp_path: Path) -> None:
    films.put(tmp_path / "videos/a.mp4")
    run(tmp_path / "videos", tmp_path / "out")
    shutil.copy(tmp_path / "out/manifest.parquet", tmp_path / "labels.parquet")
    with pytest.raises(UserError, match=r"a copy of one.*to prepare, the output folder itself"):
        prepare(tmp_path / "labels.parquet", tmp_path / "clips", SIZE)


def imported(folder: Path, **options: float) -> tuple[ImportResult, set[str], dict[str, tuple[str, ...]]]:
    result = import_dataset("folders", folder, folder.parent / "set/manifest.parquet", options)
    records = {record.video_id for record in read_source(result.manifest)}
    return result, records, {problem.what: problem.examples for problem in result.problems}


def test_dataset_import_names_what_it_leaves_out(films: Films, run: Run, tmp_path: Path) -> None:
    root = tmp_path / "data"
    films.put(*(root / name for name in ("wave/a.mp4", "wave/c.wtv", "wave/.h.mp4", "wave/noending")))
    films.put(root / ".hid/a.mp4", tmp_path / "elsewhere/b.mp4", tmp_path / "videos/a.mp4")
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "linked/back").symlink_to(root)
    run(tmp_path / "videos", tmp_path / "out")
    shutil.copy(tmp_path / "out/a.mp4", root / "wave/output.mp4")
    result, records, problems = imported(root, test_share=0.0)
    assert records == {"wave__a", "linked__b"}
    assert problems.pop("left out: written by this project") == ("wave/output.mp4",)
    assert set(problems.pop("left out: a hidden file, or in a hidden folder")) == {".hid/", "wave/.h.mp4"}
    assert problems.pop("left out: of an unsupported format") == ("wave/c.wtv",)
    assert problems.pop("left out: a video by its first bytes, but not by its ending") == ("wave/noending",)
    assert problems.pop("left out: a link to a folder that is searched anyway") == ("linked/back",)
    assert all(what.startswith("same content") for what in problems)
    assert "wave/c.wtv" in str(result)


def test_a_folder_of_a_class_that_may_not_be_read_is_named(
    films: Films, monkeypatch: pytest.MonkeyPatch
) -> None:
    around = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    monkeypatch.setenv("RAYMASKDP_CACHE", str(around / "cache"))
    try:
        films.put(around / "data/wave/a.mp4", around / "data/closed/b.mp4")
        around.chmod(0o777)
        (around / "data/closed").chmod(0)
        with as_nobody():
            _, records, problems = imported(around / "data")
        assert records == {"wave__a"}
        assert problems["left out: a folder without read permission"] == ("closed/",)
    finally:
        (around / "data/closed").chmod(0o755)
        shutil.rmtree(around)


def test_an_output_in_the_list_of_a_dataset_is_left_out(films: Films, run: Run, tmp_path: Path) -> None:
    films.put(tmp_path / "videos/a.mp4", tmp_path / "data/train/wave/b.mp4")
    run(tmp_path / "videos", tmp_path / "out")
    os.link(tmp_path / "out/a.mp4", tmp_path / "data/train/wave/a.mp4")
    (tmp_path / "data/train.csv").write_text("train/wave/a.mp4 0\ntrain/wave/b.mp4 0\n")
    result = import_dataset("kinetics", tmp_path / "data", tmp_path / "set.parquet", {"classes": 1})
    assert sum(result.videos.values()) == 1
    assert any(problem.what == "left out: written by this project" for problem in result.problems)
