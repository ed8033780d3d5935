"""Files that are cut off or damaged are refused by name: none is `done` with fewer or other pictures."""

import json
import random
from pathlib import Path

import av
import numpy as np
import pytest
from support.field_films import Films, Run
from support.filmed import write

from raymaskdp.errors import UserError
from raymaskdp.video.containers.matroska import damaged_at, declared_size
from raymaskdp.video.reader import probe, stream
from raymaskdp.video.sandbox import DecodeLimits
from raymaskdp.video.sandbox import probe as probe_apart

FRAMES = 60
CODECS = {
    "mkv": ("libx264", "matroska"),
    "webm": ("libvpx", "webm"),
    "vp9": ("libvpx-vp9", "webm"),
    "mxf": ("mpeg2video", "mxf"),
    "flv": ("flv", "flv"),
    "hevc": ("libx265", "matroska"),
}


def noisy(count: int = FRAMES) -> list[np.ndarray]:
    """Moving stripes under noise, so that every picture takes some kilobytes, uint8 [72, 96, 3]."""
    random_ = np.random.default_rng(0)
    columns, rows = np.meshgrid(np.arange(96), np.arange(72))
    return [
        np.clip(
            (120 + 60 * np.sin((columns + 3 * n) / 7) + 40 * np.cos(rows / 5))[..., None]
            + random_.normal(0, 12, (72, 96, 3)),
            0,
            255,
        ).astype(np.uint8)
        for n in range(count)
    ]


def film(path: Path, name: str) -> Path:
    codec, form = CODECS[name]
    options = {"x265-params": "log-level=0:keyint=10"} if codec == "libx265" else {"g": "10"}
    return write(path, noisy(), codec=codec, form=form, options=options)


def packets(path: Path) -> list[tuple[int, int]]:
    """Where the coded pictures of a file are, and how long they are, in bytes."""
    with av.open(str(path)) as container:
        return [(p.pos, p.size) for p in container.demux(video=0) if p.size and p.pos is not None]


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("share", [0.5, 0.8])
def test_a_file_that_is_cut_off_between_pictures_is_refused(name: str, share: float, tmp_path: Path) -> None:
    whole = film(tmp_path / "whole", name)
    assert probe(whole).num_frames == FRAMES
    cut = tmp_path / "cut"
    end = max(at for at, _ in packets(whole) if at < share * whole.stat().st_size)
    cut.write_bytes(whole.read_bytes()[:end])
    for look in (probe, lambda path: probe_apart(path, DecodeLimits()), lambda path: list(stream(path))):
        with pytest.raises(UserError, match=r"truncated|damaged"):
            look(cut)


@pytest.mark.parametrize("name", ["mkv", "webm"])
def test_one_byte_too_few_is_too_few(name: str, tmp_path: Path) -> None:
    whole = film(tmp_path / "whole", name)
    size = whole.stat().st_size
    assert declared_size(whole.read_bytes()[:4096]) == size
    (tmp_path / "cut").write_bytes(whole.read_bytes()[:-1])
    with pytest.raises(UserError, match=f"truncated: {size - 1} of its {size} bytes"):
        probe(tmp_path / "cut")
    (tmp_path / "more").write_bytes(whole.read_bytes() + bytes(100))  # as some discs leave behind files
    assert probe(tmp_path / "more").num_frames == FRAMES


def test_pictures_that_are_zeros_in_a_file_of_full_length_are_missed(tmp_path: Path) -> None:
    """A download that was stopped, in a file of the size that was to come."""
    whole = film(tmp_path / "whole", "mkv").read_bytes()
    (tmp_path / "holes").write_bytes(whole[: len(whole) // 3] + bytes(len(whole) - len(whole) // 3))
    with pytest.raises(UserError, match=r"truncated|damaged"):
        probe(tmp_path / "holes")


def test_files_written_live_say_nothing_of_their_length(tmp_path: Path, field: Path) -> None:
    """The size is that of seven bytes of ones: RFC 8794, section 6.2."""
    whole = bytearray(film(tmp_path / "x.mkv", "mkv").read_bytes())
    at = whole.index(b"\x18\x53\x80\x67")
    whole[at + 4 : at + 12] = b"\x01" + b"\xff" * 7
    assert declared_size(bytes(whole)) is None
    assert declared_size(b"\x00\x00\x00\x18ftypmp42") is None
    assert declared_size(b"\x1a\x45\xdf\xa3") is None
    assert probe(field / "videos/mediarecorder.webm").num_frames == 20


def test_a_users_file_that_was_cut_off_is_failed(field: Path, films: Films, run: Run, tmp_path: Path) -> None:
    result = run(field / "broken/cut_mkv.mkv", tmp_path / "out")
    (row,) = result.rows
    assert (row.status, row.num_frames) == ("failed", 0)
    assert "is truncated: 783102 of its 1305171 bytes" in row.reason
    assert not list((tmp_path / "out").glob("*.mp4"))


def bruised(path: Path, to: Path, seed: int) -> None:
    """A copy with 32 bytes of one picture in the middle replaced."""
    content = bytearray(path.read_bytes())
    inside = [(at, size) for at, size in packets(path)[5:-5] if size > 80]
    chance = random.Random(seed)
    at, size = chance.choice(inside)
    start = at + chance.randrange(20, size - 40)
    content[start : start + 32] = chance.randbytes(32)
    to.write_bytes(content)


def notices(path: Path) -> bool:
    try:
        probe(path)
    except UserError:
        return True
    return False


def test_damage_of_vp9_is_said(tmp_path: Path) -> None:
    """Of ten damaged films; FFmpeg's own decoder gives all frames of all of them, without a word."""
    whole = film(tmp_path / "whole", "vp9")
    assert not notices(whole)
    seen = 0
    for seed in range(10):
        bruised(whole, tmp_path / "bruised", seed)
        with av.open(str(tmp_path / "bruised")) as container:
            assert sum(1 for _ in container.decode(video=0)) == FRAMES
        seen += notices(tmp_path / "bruised")
    assert seen >= 8, seen


HASH = {"x265-params": "log-level=0:keyint=10:hash=1"}
CHECKED = {  # what has checksums: codec, container, options
    "HEVC, a checksum for each picture": ("libx265", "mp4", HASH),
    "HEVC, a checksum for each part": ("libx265", "matroska", {"x265-params": "log-level=0"}),
    "VP8, a checksum for each part": ("libvpx", "matroska", {}),
    "H.264, a checksum for each part": ("libx264", "matroska", {}),
}


@pytest.mark.parametrize("name", CHECKED)
def test_damage_is_said_wherever_there_is_a_checksum(name: str, tmp_path: Path) -> None:
    """FFmpeg decodes all pictures of most of these, and checks no checksum unless configured to."""
    codec, form, options = CHECKED[name]
    whole = write(tmp_path / "whole", noisy(), codec=codec, form=form, options=options)
    assert not notices(whole)
    if form == "mp4":  # damage that changes no picture is none
        reference = np.stack(list(stream(whole)))
    for seed in range(8):
        bruised(whole, tmp_path / "bruised", seed)
        if not notices(tmp_path / "bruised"):
            assert form == "mp4"
            np.testing.assert_array_equal(np.stack(list(stream(tmp_path / "bruised"))), reference)


def test_changed_bits_of_vp8_and_hevc_without_a_checksum_tell_nobody(tmp_path: Path) -> None:
    """A limit that docs/limits.md names: where this fails, it has gone, and the page is to be mended."""
    for codec, form, options in (
        ("libvpx", "webm", {}),
        ("libx265", "mp4", {"x265-params": "log-level=0"}),
    ):
        whole = write(tmp_path / "whole", noisy(), codec=codec, form=form, options=options)
        seen = 0
        for seed in range(8):
            bruised(whole, tmp_path / "bruised", seed)
            seen += notices(tmp_path / "bruised")
        assert seen < 4
    assert "VP8" in (Path(__file__).parents[2] / "docs/limits.md").read_text()


SAID = {
    "libx264 mp4": "decoder",
    "libx264 matroska": "checksums",
    "libvpx webm": "none",
    "libvpx matroska": "checksums",
    "libvpx-vp9 webm": "decoder",
    "libx265 mp4": "none",
    "libx265 mpegts": "none",
    "libx265 hash mp4": "checksums",
    "libx265 hash mpegts": "checksums",
}


@pytest.mark.parametrize("name", SAID)
def test_what_would_tell_of_damage_is_said(name: str, tmp_path: Path) -> None:
    codec, *hashed, form = name.split()
    options = {"x265-params": "log-level=0" + (":hash=1" if hashed else "")} if codec == "libx265" else {}
    whole = write(tmp_path / "whole", noisy(), codec=codec, form=form, options=options)
    assert probe(whole).integrity == SAID[name]


def test_a_done_row_says_what_would_have_told_of_damage(films: Films, run: Run, tmp_path: Path) -> None:
    films.put(tmp_path / "videos/a.mp4")
    with av.open(str(films.a)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    write(tmp_path / "videos/b.webm", frames, codec="libvpx", form="webm")
    result = run(tmp_path / "videos", tmp_path / "out")
    said = {row.video_id: json.loads(row.metrics)["source_integrity"] for row in result.rows}
    assert said == {"a": "decoder", "b.webm": "none"}
    note = "note: 1 with a codec that does not detect damaged frames (docs/limits.md): b.webm"
    assert note in str(result)
    assert note in str(run(tmp_path / "videos", tmp_path / "out"))  # of what was finished before, too


def test_the_part_that_is_damaged_is_named(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole", noisy(), codec="libx264", form="matroska")
    content = bytearray(whole.read_bytes())
    assert damaged_at(whole) is None
    at = content.index(b"\x1f\x43\xb6\x75")
    content[at + 200] ^= 1
    (tmp_path / "bruised").write_bytes(content)
    assert damaged_at(tmp_path / "bruised") == at
    for other in (b"", content[:30], b"\x1a\x45\xdf\xa3", bytes(100)):
        (tmp_path / "other").write_bytes(other)
        assert damaged_at(tmp_path / "other") is None


@pytest.mark.parametrize("place", [6, 7])
def test_damaged_heads_of_hevc_pictures_are_said(place: int, tmp_path: Path) -> None:
    """Behind the length (4 bytes) and the kind (2 bytes) of a picture is which parameters it has."""
    options = {"x265-params": "log-level=0:keyint=10"}
    whole = write(tmp_path / "whole", noisy(), codec="libx265", form="mp4", options=options)
    content = bytearray(whole.read_bytes())
    with av.open(str(whole)) as container:
        picture = bytes([packet for packet in container.demux(video=0) if packet.size][15])
    content[content.index(picture) + place] ^= 0xFF
    (tmp_path / "bruised").write_bytes(content)
    with pytest.raises(UserError, match=r"damaged|truncated"):
        probe(tmp_path / "bruised")


def test_a_missing_reference_is_said(tmp_path: Path) -> None:
    """HEVC without one of its pictures: the decoder makes it up, grey, and says so in its log only."""
    whole = film(tmp_path / "whole", "hevc")
    with av.open(str(whole)) as seen, av.open(str(tmp_path / "x.mkv"), "w") as made:
        pictures = made.add_stream_from_template(seen.streams.video[0])
        for number, packet in enumerate(seen.demux(video=0)):
            if packet.dts is not None and number != 11:
                packet.stream = pictures
                made.mux(packet)
    with pytest.raises(UserError, match=r"damaged near frame \d+ \(hevc: "):
        probe_apart(tmp_path / "x.mkv", DecodeLimits())
