"""With `composite.keep_audio=true` a clap stays at its picture, and sound that is lost is named."""

import dataclasses
import json
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from support.claps import clap_of, clapped, heard, picture_of
from support.field_films import Films

from raymaskdp.anonymize import AnonymizeResult, anonymize
from raymaskdp.video.audio import add_sound, damaged_sound
from raymaskdp.video.containers.mark import is_marked
from raymaskdp.video.join import join
from raymaskdp.video.reader import probe, stream
from raymaskdp.video.writer import VideoWriter

STEADY = (0, 40, 80, 120, 160, 200)
VARYING = (0, 33, 66, 700, 1300, 1366)
LATE = tuple(500 + stamp for stamp in STEADY)
CLAP = 4
"""The picture of a hand clap."""
OFF_S = 0.012
"""How far a clap may be off; a picture lasts 0.04 s."""

CASES: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "as it should be": (STEADY, {}),
    "pictures begin later": (LATE, {}),
    "sound begins later": (STEADY, {"begin": Fraction(1, 10)}),
    "sound begins later than late pictures": (LATE, {"begin": Fraction(11, 20)}),
    "a hole in the sound": (VARYING, {"hole": (Fraction(1, 10), Fraction(9, 10))}),
    "a hole and late pictures": (LATE, {"hole": (Fraction(1, 10), Fraction(55, 100))}),
    "a variable rate": (VARYING, {}),
    "coded sound": (VARYING, {"codec": "aac", "form": "mp4", "tick": Fraction(1, 1000)}),
    "sound for broadcasting": (LATE, {"codec": "mp2", "form": "mpegts"}),
    "192 kHz": (STEADY, {"rate": 192_000}),
    "384 kHz, late": (LATE, {"rate": 384_000}),
    "37 800 Hz": (VARYING, {"rate": 37_800}),
    "6 000 Hz": (VARYING, {"rate": 6_000}),
    "8 kHz": (LATE, {"rate": 8_000, "codec": "pcm_mulaw", "form": "mov"}),
    "six channels": (VARYING, {"channels": "5.1"}),
    "a title in no UTF-8": (STEADY, {"title": b"\xe9t\xe9 \xff de Ren\xe9"}),
}


def keeping_sound(films: Films, tmp_path: Path, source: Path, frames: int = len(STEADY)) -> AnonymizeResult:
    """`anonymize` with sound; the poses are those of `a`, as often as there are frames."""
    poses = films.settings.pose.skeletons
    assert poses is not None
    with np.load(poses / "a.npz") as stored:
        kept = {name: stored[name] for name in stored.files if name != "mocap_framerate"}
    long = {
        name: np.concatenate([array] * 9)[:frames] if array.shape[:1] == (len(STEADY),) else array
        for name, array in kept.items()
    }
    np.savez(poses / f"{source.stem}.npz", **long)
    composites = dataclasses.replace(films.settings.composite, keep_audio=True)
    settings = dataclasses.replace(films.settings, composite=composites)
    return anonymize(source, tmp_path / "out", settings, progress=False)


def shown(source: Path, folder: Path) -> Path:
    """The pictures of a film with its sound, written as `anonymize` writes them."""
    info = probe(source)
    part, out = folder / "part.mp4", folder / "shown.mp4"
    with VideoWriter(part, width=info.width, height=info.height, fps=info.fps) as writer:
        for frame_HW3 in stream(source):
            writer.write(frame_HW3)
    join([part], out, times=info.times, tick=info.tick)
    assert add_sound(out, source)
    return out


@pytest.mark.parametrize("name", CASES)
def test_a_clap_stays_at_its_picture(name: str, films: Films, tmp_path: Path) -> None:
    stamps, more = CASES[name]
    clap = Fraction(stamps[CLAP], 1000)
    source = clapped(tmp_path / "clap.mkv", list(stream(films.a)), clap, stamps=stamps, **more)
    assert clap_of(source) - picture_of(source, CLAP) == pytest.approx(0, abs=0.03)  # the test's own film
    assert damaged_sound(source) == 0
    out = shown(source, tmp_path)
    assert clap_of(out) == pytest.approx(picture_of(out, CLAP), abs=OFF_S)
    _, rate, begin = heard(out)
    assert begin == pytest.approx(picture_of(out, 0), abs=0.001)  # from the first picture on
    asked = more.get("rate", 48_000)
    assert rate == {192_000: 96_000, 384_000: 96_000, 37_800: 44_100, 6_000: 7_350}.get(asked, asked)


@pytest.mark.parametrize("name", ["video_late.mkv", "vfr_clap.mp4", "hires.mkv"])
def test_the_claps_of_users(name: str, field: Path, tmp_path: Path) -> None:
    out = shown(field / "audio" / name, tmp_path)
    assert clap_of(out) == pytest.approx(picture_of(out, 10), abs=OFF_S)


def test_anonymizing_keeps_a_clap_at_its_picture(films: Films, tmp_path: Path) -> None:
    stamps = tuple(500 + stamp for stamp in VARYING)
    clap = Fraction(stamps[CLAP], 1000)
    source = clapped(tmp_path / "clap.mkv", list(stream(films.a)), clap, stamps=stamps, rate=192_000)
    result = keeping_sound(films, tmp_path, source)
    assert result.done == 1, str(result)
    out = tmp_path / "out" / str(result.rows[0].path)
    assert clap_of(out) == pytest.approx(picture_of(out, CLAP), abs=OFF_S)
    assert is_marked(out)


def test_holes_are_silent_and_the_rest_is_as_it_was(films: Films, tmp_path: Path) -> None:
    """Sound beyond a hole is the source's, sample for sample but for its coding."""
    source = clapped(
        tmp_path / "x.mkv",
        list(stream(films.a)),
        Fraction(13, 10),
        stamps=VARYING,
        hole=(Fraction(1, 10), Fraction(9, 10)),
    )
    samples, rate, _ = heard(shown(source, tmp_path))
    loud = np.abs(samples) > 0.4
    assert 0.8 < loud.sum() / (rate / 500) < 1.2
    assert np.abs(samples[: int(1.25 * rate)]).max() < 0.02
    assert len(samples) / rate == pytest.approx(1.366 + 0.3, abs=0.03)


def test_sound_long_after_the_pictures_makes_no_hours_of_silence(films: Films, tmp_path: Path) -> None:
    source = clapped(
        tmp_path / "x.mkv",
        list(stream(films.a)),
        Fraction(1, 10),
        stamps=(*STEADY[:-1], 90_000_000),
        hole=(Fraction(1, 5), Fraction(89_999)),
        rate=8_000,
    )
    shutil.copy(films.a, tmp_path / "x.mp4")
    assert add_sound(tmp_path / "x.mp4", source)  # whose pictures last 0.24 s
    assert len(heard(tmp_path / "x.mp4")[0]) / 8_000 < 1


def test_damaged_packets_of_sound_become_silence_and_are_counted(films: Films, tmp_path: Path) -> None:
    source = clapped(
        tmp_path / "broken.mkv", list(stream(films.a)), Fraction(1300, 1000), stamps=VARYING, codec="flac"
    )
    content = bytearray(source.read_bytes())
    places, at = [], content.find(b"\xff\xf8")
    while at >= 0:
        places.append(at)
        at = content.find(b"\xff\xf8", at + 1)
    for place in places[3:6]:
        content[place] = 0  # a frame of FLAC no longer
    source.write_bytes(content)
    lost = damaged_sound(source)
    assert lost
    result = keeping_sound(films, tmp_path, source)
    assert json.loads(result.rows[0].metrics)["sound_packets_lost"] == lost
    out = tmp_path / "out" / str(result.rows[0].path)
    assert clap_of(out) == pytest.approx(picture_of(out, CLAP), abs=OFF_S)


def test_sound_without_a_decoder_is_said_before_the_work(films: Films, field: Path, tmp_path: Path) -> None:
    source = field / "audio/nodecoder.mov"
    result = keeping_sound(films, tmp_path, source, probe(source).num_frames)
    (row,) = result.rows
    assert row.status == "failed"
    assert "sound" in row.reason
    assert "keep_audio=false" in row.reason
    assert "seconds_pose" not in json.loads(row.metrics or "{}")
    assert not list((tmp_path / "out").glob("*.mp4"))


def test_a_second_stream_that_decodes_is_taken(films: Films, field: Path, tmp_path: Path) -> None:
    """Beside sound that nobody decodes, as phones write it for rooms, there is often one that all do."""
    source = tmp_path / "two.mov"
    with av.open(str(field / "audio/nodecoder.mov")) as seen, av.open(str(source), "w") as made:
        video = made.add_stream_from_template(seen.streams.video[0])
        audio = made.add_stream("aac", rate=48_000)
        for packet in seen.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                made.mux(packet)
        frame = av.AudioFrame.from_ndarray(
            np.full((1, 24_000), 0.2, np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate = 48_000
        made.mux(audio.encode(frame))
        made.mux(audio.encode(None))
    assert damaged_sound(source) == 0
