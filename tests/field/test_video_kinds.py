"""No video of a folder is left out in silence, whatever its ending is: it is read, or it is named."""

import shutil
from pathlib import Path

import pytest
from support.field_films import Films

from raymaskdp.datasets import search
from raymaskdp.datasets.ids import stable_id
from raymaskdp.datasets.manifest import find_source
from raymaskdp.video.reader import probe

READ = [
    *(".mod", ".m2p", ".trp", ".tp", ".3gpp", ".dav", ".dvr-ms", ".ogm"),
    *(".insv", ".lrv", ".360", ".amv", ".xvid", ".avc", ".mp4v", ".ismv"),
]
NAMED = [".wtv", ".nsv", ".mjpg", ".y4m", ".gif", ".braw", ".jpg", ".tiff"]


@pytest.mark.parametrize("ending", [*READ, *(ending.upper() for ending in READ[:3])])
def test_a_further_ending_is_read_by_its_content(ending: str, films: Films, tmp_path: Path) -> None:
    shutil.copy(films.a, tmp_path / f"x{ending}")
    (record,) = find_source(tmp_path).records
    assert record.path == str(tmp_path / f"x{ending}")
    assert probe(record.path).num_frames == probe(films.a).num_frames


@pytest.mark.parametrize("ending", NAMED)
def test_what_is_not_read_is_named(ending: str, films: Films, tmp_path: Path) -> None:
    films.put(tmp_path / "a.mp4")
    shutil.copy(films.a, tmp_path / f"x{ending}")
    found = find_source(tmp_path)
    assert len(found.records) == 1
    assert found.left_out == {search.UNREAD: (f"x{ending}",)}


def test_a_video_without_its_ending_is_named_by_its_first_bytes(films: Films, tmp_path: Path) -> None:
    films.put(tmp_path / "a.mp4")
    beginnings = {
        "mp4": Path(films.a).read_bytes()[:2000],
        "matroska": b"\x1aE\xdf\xa3rest",
        "avi": b"RIFF\0\0\0\0AVI LIST",
        "flv": b"FLV\x01\x05",
        "ts": (b"G" + bytes(187)) * 3,
        "m2ts": (bytes(4) + b"G" + bytes(187)) * 3,
        "ps": b"\0\0\1\xba\x44",
        "ogg": b"OggS\0\2",
        "asf": bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"),
    }
    for name, content in beginnings.items():
        (tmp_path / f"{name}.part").write_bytes(content)
    for name, content in {"a.txt": b"Good morning", "b.bin": b"RIFF\0\0\0\0WAVE", "c": b""}.items():
        (tmp_path / name).write_bytes(content)
    found = find_source(tmp_path)
    assert len(found.records) == 1
    assert found.left_out == {search.NO_ENDING: tuple(sorted(f"{name}.part" for name in beginnings))}


@pytest.mark.parametrize("ending", [".mod", ".360", ".dav"])
def test_music_and_others_that_are_called_so_are_no_videos(ending: str, films: Films, tmp_path: Path) -> None:
    films.put(tmp_path / "a.mp4")
    (tmp_path / f"song{ending}").write_bytes(b"my song" + bytes(1073) + b"M.K.")
    assert find_source(tmp_path).left_out == {search.NO_VIDEO: (f"song{ending}",)}


def test_further_endings_change_no_id() -> None:
    """`clip.360.mp4` had its id before `.360` was an ending."""
    assert stable_id(Path("clip.360.mp4")) == "clip.360"
    assert stable_id(Path("clip.mod.mp4")) == "clip.mod"
    assert stable_id(Path("clip.360")) not in ("clip.360", "clip")


def test_what_is_not_read_is_named_on_a_store_too() -> None:
    found, left_out = search.listed("s3://bucket/v", ["a.mp4", "b.wtv", "c.gif", "d.txt", "e.ogm"])
    assert [str(name) for name in found] == ["a.mp4", "e.ogm"]
    assert left_out == {search.UNREAD: ("b.wtv", "c.gif")}
