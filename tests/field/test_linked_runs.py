"""Runs behind links to folders are shown, and each folder's table is a file of its own."""

import os
from pathlib import Path

import pandas as pd
import pytest
from support.field_films import Films, Run

from raymaskdp.operate.progress import status
from raymaskdp.places import find_below
from raymaskdp.report import report


def test_status_and_report_follow_links_to_folders(films: Films, run: Run, tmp_path: Path) -> None:
    films.put(tmp_path / "videos/a.mp4")
    run(tmp_path / "videos", tmp_path / "elsewhere/out")
    (tmp_path / "all").mkdir()
    (tmp_path / "all/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "all/linked/circle").symlink_to(tmp_path / "all")
    (shown,) = status(tmp_path / "all").runs
    assert (shown.folder, shown.done) == (str(tmp_path / "all/linked/out"), 1)
    result = report(tmp_path / "all", tmp_path / "page.html")
    assert (result.videos, result.damaged) == (1, ())


def test_folders_are_searched_once(tmp_path: Path) -> None:
    (tmp_path / "root/b/c").mkdir(parents=True)
    (tmp_path / "other/in").mkdir(parents=True)
    for folder in ("root", "root/b/c", "other", "other/in"):
        (tmp_path / folder / "x.json").touch()
    for name, to in (("a", "root/b"), ("l1", "other"), ("l2", "other/in"), ("up", "."), ("l3", "other")):
        (tmp_path / "root" / name).symlink_to(tmp_path / to)
    (tmp_path / "other/back").symlink_to(tmp_path / "root")
    (tmp_path / "root/gone").symlink_to(tmp_path / "nothing")
    found = find_below(tmp_path / "root", "*.json")
    assert len({os.path.realpath(path) for path in found}) == len(found) == 4
    assert {path.relative_to(tmp_path / "root").as_posix() for path in found} >= {"x.json", "b/c/x.json"}


@pytest.mark.parametrize(
    "folders",
    [
        ("a-b", "a/b"),
        ("here", "."),
        ("a/b-c", "a-b/c"),
        (f"{'n' * 180}/{'m' * 180}", f"{'n' * 180}-/{'m' * 180}"),
    ],
    ids=["a-b", "here", "a-b-c", "long"],
)
def test_each_folder_has_a_table_of_its_own(
    films: Films, run: Run, tmp_path: Path, folders: tuple[str, str]
) -> None:
    films.put(tmp_path / "videos/a.mp4", tmp_path / "others/b.mp4")
    for source, folder in zip(("videos", "others"), folders, strict=True):
        run(tmp_path / source, tmp_path / "rep" / folder)
    result = report(tmp_path / "rep", tmp_path / "page.html")
    tables = [pd.read_csv(path) for path in result.files if Path(path).name.startswith("videos-")]
    assert sorted(name for table in tables for name in table["video_id"]) == ["a", "b"]
    assert len(set(result.files)) == len(result.files)
