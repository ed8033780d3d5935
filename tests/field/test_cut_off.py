"""A film that ends before its end is refused wherever its container tells: Ogg, ASF, FLV, TS, PS, IVF.

What is right is known from the whole film. Files are cut from the first third on, so that a film remains that
players show without a word.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from field.test_broken_files import FRAMES, noisy
from support.field_films import Films, Run
from support.filmed import write
from support.gaps import with_gaps

from raymaskdp.errors import UserError
from raymaskdp.video.containers import cut_off, matroska
from raymaskdp.video.reader import probe

FILMS = {  # name: codec, container, bytes of which a cut between two of them shows nothing
    "wmv": ("wmv2", "asf", 0),
    "asf": ("libx264", "asf", 0),
    "flv": ("libx264", "flv", 0),
    "sorenson": ("flv", "flv", 0),
    "ogv": ("libvpx", "ogg", 0),
    "ivf": ("libvpx", "ivf", 0),
    "nut": ("libx264", "nut", 0),
    "mxf": ("mpeg2video", "mxf", 0),
    "ts": ("libx264", "mpegts", 188),
    "mpeg2ts": ("mpeg2video", "mpegts", 188),
    "vob": ("mpeg2video", "vob", 2048),
    "mpg": ("mpeg1video", "mpeg", 2048),
}


def film(folder: Path, name: str) -> Path:
    codec, form, _ = FILMS[name]
    return write(folder / f"whole.{name}", noisy(), codec=codec, form=form, options={"g": "10"})


def refused(content: bytes, at: Path) -> str:
    """Why a file of this content is refused; "" where it is taken."""
    at.write_bytes(content)
    try:
        probe(at)
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", FILMS)
def test_a_file_that_is_cut_off_anywhere_is_refused_where_its_container_tells(
    name: str, tmp_path: Path
) -> None:
    whole = film(tmp_path, name)
    assert probe(whole).num_frames == FRAMES
    content, unit = whole.read_bytes(), FILMS[name][2]
    step = max(1, len(content) // 61)
    for end in range(len(content) // 3, len(content), step):
        shift = 3 if unit and end % unit < 3 else 0  # a byte or two of the next packet may be padding
        why = refused(content[: end + shift], tmp_path / "cut")
        if not why:  # nothing of the film is missing, but an index or padding behind it
            assert unit == 2048 or name in ("flv", "sorenson", "mxf"), end
            assert probe(tmp_path / "cut").num_frames == FRAMES
        else:
            assert "truncated" in why or "damaged" in why, why
            assert "\n" not in why


@pytest.mark.parametrize("clusters", [False, True])
def test_a_live_recording_that_ends_within_a_picture_is_refused(clusters: bool, tmp_path: Path) -> None:
    """Without sizes of the whole and, as browsers write it, of its parts; between pictures nothing tells."""
    content = bytearray(write(tmp_path / "x.webm", noisy(), codec="libvpx", options={"g": "10"}).read_bytes())
    content = content[: content.rindex(b"\x1c\x53\xbb\x6b")]  # the index, which is the last of it
    at = content.index(b"\x18\x53\x80\x67")
    content[at + 4 : at + 12] = b"\x01" + b"\xff" * 7
    at = content.index(b"\x1f\x43\xb6\x75")
    if clusters:
        while at >= 0:
            size = 9 - content[at + 4].bit_length()
            content[at + 4 : at + 4 + size] = bytes([0x1FF >> size]) + b"\xff" * (size - 1)
            at = content.find(b"\x1f\x43\xb6\x75", at + 4)
    assert refused(content, tmp_path / "whole") == ""
    assert refused(content + bytes(50), tmp_path / "padded") == ""
    ends = range(len(content) // 3, len(content), len(content) // 150)
    why = [refused(content[:end], tmp_path / "cut") for end in ends]
    assert sum("its last part is cut off" in text for text in why) >= 0.95 * len(why)


@pytest.mark.parametrize(("name", "unit"), [("ts", 188), ("vob", 2048)])
def test_between_two_packets_nothing_tells(name: str, unit: int, tmp_path: Path) -> None:
    """A limit that docs/limits.md names: where this fails, it has gone, and the page is to be mended."""
    content = film(tmp_path, name).read_bytes()
    taken = [end for end in range(2 * unit, len(content), unit) if not refused(content[:end], tmp_path / "x")]
    assert taken
    limits = (Path(__file__).parents[2] / "docs/limits.md").read_text()
    assert "A cut between two packets" in " ".join(limits.split())


AVI = {
    "mpeg4": {"g": "10", "bf": "0"},
    "libx264": {"g": "10", "bf": "0"},
    "libx264, b": {"g": "10", "bf": "2"},
    "mjpeg": {},
}


def avi(folder: Path, name: str) -> Path:
    codec = name.partition(",")[0]
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    return write(folder / "whole.avi", noisy(), codec=codec, form="avi", options=AVI[name], pixels=pixels)


@pytest.mark.parametrize("name", AVI)
@pytest.mark.parametrize("chunks", [True, False])
def test_an_avi_file_with_dropped_pictures_is_whole(name: str, chunks: bool, tmp_path: Path) -> None:
    """In the middle, at the end, and behind it; and each picture is shown when it was taken."""
    whole = avi(tmp_path, name)
    assert (probe(whole).num_frames, probe(whole).duration) == (FRAMES, FRAMES / 25)
    for dropped, behind in ((range(0), 10), (range(0), 300), (range(50, 60), 0), (range(20, 50), 0)):
        film = with_gaps(whole, tmp_path / "x.avi", dropped=dropped, behind=behind, chunks=chunks)
        info = probe(film)
        kept = [n for n in range(FRAMES) if n not in dropped]
        assert info.num_frames == len(kept)
        if chunks:
            np.testing.assert_allclose(info.shown_T * 25, kept, atol=0.03)
            cut = film.read_bytes()[: film.stat().st_size * 2 // 3]
            assert "truncated" in refused(cut, tmp_path / "cut.avi")


def test_a_users_film_that_was_cut_off_is_failed(films: Films, run: Run, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("wmv", "ogv", "ts", "flv"):
        content = film(tmp_path, name).read_bytes()
        (tmp_path / "in" / f"a.{name}").write_bytes(content[: 6 * len(content) // 10 + 1])
    result = run(tmp_path / "in", tmp_path / "out")
    assert [(row.status, row.num_frames) for row in result.rows] == [("failed", 0)] * 4
    assert all("truncated" in row.reason or "damaged" in row.reason for row in result.rows)
    assert not list((tmp_path / "out").glob("*.mp4"))


def packets(content: bytes) -> Iterator[bytes]:
    return (content[at : at + 188] for at in range(0, len(content), 188))


def test_transport_streams_as_they_come(tmp_path: Path) -> None:
    """From the middle of a packet on, as tuners begin; with time stamps, as cameras write; with parity."""
    content = film(tmp_path, "ts").read_bytes()
    forms = {
        "begun in a packet": bytes(37) + content,
        "of a camera": b"".join(
            struct.pack(">I", number) + one for number, one in enumerate(packets(content))
        ),
        "with parity": b"".join(one + bytes(16) for one in packets(content)),
    }
    for name, form in forms.items():
        assert refused(form, tmp_path / "whole") == "", name
        assert probe(tmp_path / "whole").num_frames == FRAMES, name
        assert "its last packet is cut off" in refused(form[:-1], tmp_path / "cut"), name


def test_a_page_of_ogg_that_is_missing_is_seen_by_the_numbers(tmp_path: Path) -> None:
    content = film(tmp_path, "ogv").read_bytes()
    at = content.index(b"OggS", len(content) // 2)
    after = content.index(b"OggS", at + 4)
    assert "damaged: a part before byte" in refused(content[:at] + content[after:], tmp_path / "hole")


@pytest.mark.parametrize("name", ["ts", "mpeg2ts"])
def test_packets_that_are_missing_in_the_middle_are_seen_by_the_numbers(name: str, tmp_path: Path) -> None:
    """FFmpeg looks at the counters of a transport stream; now and then its parser loses what it has seen."""
    parts = list(packets(film(tmp_path, name).read_bytes()))
    film_s = [n for n, one in enumerate(parts) if (one[1] & 31, one[2]) == (1, 0)][4:-4:4]  # FFmpeg's number
    holes = [b"".join(parts[:n] + parts[n + 1 :]) for n in film_s]
    seen = [bool(refused(hole, tmp_path / "hole")) for hole in holes]
    assert len(seen) >= 8
    assert sum(seen) >= 0.8 * len(seen), seen


def test_ogg_files_behind_each_other_are_whole_and_the_last_may_not_be(tmp_path: Path) -> None:
    content = film(tmp_path, "ogv").read_bytes()
    for text, said in ((content * 2, ""), (content + content[: len(content) // 2], "truncated")):
        (tmp_path / "chained").write_bytes(text)
        with open(tmp_path / "chained", "rb") as file:
            assert cut_off._ogg(file, len(text)).startswith(said)
            assert bool(cut_off._ogg(file, len(text))) == bool(said)


def test_zeros_behind_a_program_stream_are_nothing(tmp_path: Path) -> None:
    content = film(tmp_path, "vob").read_bytes()
    for count in (1, 2, 3, 4, 2048):
        assert refused(content + bytes(count), tmp_path / "padded") == "", count


def test_sizes_are_read_where_they_stand(tmp_path: Path) -> None:
    """ASF says its size unless it is broadcast; FLV may say that of another copy, so its duration decides."""
    asf = bytearray(film(tmp_path, "wmv").read_bytes())
    assert cut_off.asf_size(asf) == len(asf)
    at = asf.index(bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365"))
    asf[at + 88] |= 1
    assert cut_off.asf_size(asf) is None
    assert cut_off.asf_size(asf[:60]) is None

    flv = film(tmp_path, "flv").read_bytes()
    assert cut_off.flv_size(flv) == len(flv)
    stale = flv.replace(
        b"filesize\x00" + struct.pack(">d", len(flv)), b"filesize\x00" + struct.pack(">d", 1e9)
    )
    assert cut_off.flv_size(stale) == 10**9
    assert refused(stale, tmp_path / "stale") == ""
    for head in (b"", b"FLV", b"OggS", b"\x00\x00\x01\xba", b"\x47" * 3):
        assert cut_off.flv_size(head) is cut_off.asf_size(head) is None
        assert matroska.declared_size(head) is None
        (tmp_path / "short").write_bytes(head)
        if head in (b"", b"FLV", b"\x47" * 3):
            cut_off.require_complete(tmp_path / "short")  # what it is not is said elsewhere
