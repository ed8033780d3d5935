"""Sources become records: unique ids, plain names, and mistakes named."""

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymaskdp.datasets.manifest import VideoRecord, read_source, write_table
from raymaskdp.errors import UserError


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_folder_is_searched_through_and_ids_are_unique(tmp_path: Path) -> None:
    touch(tmp_path / "a/x.mp4", tmp_path / "b/x.mp4", tmp_path / "b/x.avi", tmp_path / "notes.txt")
    records = read_source(tmp_path)
    assert [r.video_id for r in records] == ["a__x", "b__x.avi", "b__x"]
    assert all(Path(r.path).is_file() for r in records)


def test_file_and_glob(tmp_path: Path) -> None:
    touch(tmp_path / "one clip.mp4", tmp_path / "two.mp4")
    assert [r.video_id for r in read_source(tmp_path / "one clip.mp4")] == ["one_clip-904c8280"]
    assert [r.video_id for r in read_source(f"{tmp_path}/t*.mp4")] == ["two"]


def test_manifest_round_trip(tmp_path: Path) -> None:
    touch(tmp_path / "videos/x.mp4")
    record = VideoRecord(
        video_id="x",
        path=str(tmp_path / "videos/x.mp4"),
        label="wave",
        split="train",
        subject="p1",
        camera=None,
    )
    write_table(tmp_path / "manifest.parquet", [record])
    assert pd.read_parquet(tmp_path / "manifest.parquet").path[0] == "videos/x.mp4"
    assert read_source(tmp_path) == (record,)
    assert read_source(tmp_path / "manifest.parquet") == (record,)


def test_csv_needs_only_paths(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,label\nx.mp4,1\nsub/y.mp4,\n")
    one, two = read_source(tmp_path / "list.csv")
    assert (one.video_id, one.label, one.path) == ("x", "1", str(tmp_path / "x.mp4"))
    assert (two.video_id, two.label) == ("sub__y", None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label\nwave\n", "needs a column 'path'"),
        ("path\n", "no row"),
        ("", "Cannot read the manifest"),
        ("video_id,path\n../../etc,x.mp4\n", "video id"),
        ("video_id,path\n.hidden,x.mp4\n", "video id"),
        ("video_id,path\na,x.mp4\na,y.mp4\n", "more than one video"),
        ("video_id,path\na,\n", "without a path"),
    ],
)
def test_broken_manifests(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        read_source(tmp_path / "list.csv")


def test_a_parquet_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "list.parquet").write_text("not parquet")
    with pytest.raises(UserError, match="Cannot read the manifest"):
        read_source(tmp_path / "list.parquet")


@pytest.mark.parametrize("name", ["missing.mp4", "*.mp4", "empty"])
def test_sources_without_videos(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"does not exist|has no video"):
        read_source(f"{tmp_path}/{name}")


@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=6, unique=True))
def test_any_file_name_gives_a_safe_id(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    folder = tmp_path_factory.mktemp("videos")
    made = set()
    for name in names:
        name = name.replace("/", "_").replace("\0", "_").encode("utf-8", "replace").decode()
        if not name.startswith(".") and len(name.encode()) < 240:
            touch(folder / f"{name}.mp4")
            made.add(f"{name}.mp4")
    if made:
        records = read_source(folder)
        assert {Path(r.path).name for r in records} == made
        assert len({r.video_id for r in records}) == len(made)
