"""Pictures at their times, in their shape, without combs, in their colours; and the film, not its cover."""

import itertools
import json
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.field_films import Films, Run
from support.filmed import blocks, times, write

from raymaskdp.anonymize.output.manifest import Row
from raymaskdp.errors import UserError
from raymaskdp.video import tone
from raymaskdp.video.join import join
from raymaskdp.video.reader import VideoInfo, probe, read_frames, stream
from raymaskdp.video.sandbox import DecodeLimits
from raymaskdp.video.sandbox import probe as probe_apart
from raymaskdp.video.timing import Timing
from raymaskdp.video.writer import VideoWriter

GAP = (0, 2970, 5940, 63_000, 66_000, 126_000)  # 0.63 s and 0.67 s between pictures
JITTER = (0, 45, 63, 88, 139, 176)  # in milliseconds


def anonymized(films: Films, run: Run, tmp_path: Path, source: Path) -> tuple[Row, Path]:
    """The row and the output of a film whose poses are those of `a`, one for each frame."""
    poses = films.settings.pose.skeletons
    assert poses is not None
    with np.load(poses / "a.npz") as stored:
        kept = {name: stored[name] for name in stored.files if name != "mocap_framerate"}
    np.savez(poses / f"{source.stem}.npz", **kept)
    result = run(source, tmp_path / "out")
    assert result.done == 1, str(result)
    return result.rows[0], tmp_path / "out" / str(result.rows[0].path)


# --- times ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "stamps", "tick"),
    [
        ("mp4", GAP, Fraction(1, 90_000)),
        ("mkv", JITTER, Fraction(1, 1000)),
        ("webm", JITTER, Fraction(1, 1000)),
    ],
)
def test_pictures_stay_at_their_times(
    suffix: str, stamps: tuple[int, ...], tick: Fraction, films: Films, run: Run, tmp_path: Path
) -> None:
    codec = "libvpx" if suffix == "webm" else "libx264"
    source = tmp_path / f"times.{suffix}"
    write(source, list(stream(films.a)), stamps=stamps, tick=tick, codec=codec)
    wanted = [stamp * tick for stamp in stamps]
    assert times(source) == wanted
    row, out = anonymized(films, run, tmp_path, source)
    layer = out.with_name(f"{row.video_id}.avatar.mp4")
    assert times(out) == times(layer) == wanted
    assert json.loads(row.metrics)["variable_rate"] is True
    before, after = probe(source), probe(out)
    assert after.shown_T == pytest.approx(before.shown_T)
    assert after.duration == pytest.approx(before.duration, abs=0.005)
    assert row.fps == pytest.approx(float(after.fps), rel=0.02)


@pytest.mark.parametrize("name", ["vfr_gap.mp4", "mediarecorder.webm"])
def test_the_times_of_files_of_users(name: str, field: Path, tmp_path: Path) -> None:
    info = probe_apart(field / "videos" / name, DecodeLimits())
    known = times(field / "videos" / name)
    assert info.shown_T == pytest.approx([float(time) for time in known], abs=1e-9)
    assert info.duration == pytest.approx({"vfr_gap.mp4": 2.14, "mediarecorder.webm": 0.66}[name], abs=0.02)
    assert 5 < info.fps < 35
    parts = [tmp_path / "0.mp4", tmp_path / "1.mp4"]
    frames = stream(field / "videos" / name)
    for part, count in zip(parts, (13, info.num_frames - 13), strict=True):
        with VideoWriter(part, width=info.width, height=info.height, fps=info.fps) as writer:
            for frame_HW3 in itertools.islice(frames, count):
                writer.write(frame_HW3)
    join(parts, tmp_path / "all.mp4", times=info.times, tick=info.tick)
    assert times(tmp_path / "all.mp4") == known
    assert probe(tmp_path / "all.mp4").num_frames == info.num_frames


@given(
    rate=st.sampled_from(["24000/1001", "24", "25", "30000/1001", "30", "15", "12.5", "60000/1001", "120"]),
    tick=st.sampled_from(["1/1000", "1/90000", "1/12800", "1/600"]),
    count=st.integers(2, 400),
    begin=st.integers(0, 10**6),
)
def test_a_constant_rate_is_recognized_however_it_is_rounded(
    rate: str, tick: str, count: int, begin: int
) -> None:
    fps, clock = Fraction(rate), Fraction(tick)
    stamps = [begin + round(number / fps / clock) for number in range(count)]
    assert Timing.of(stamps, clock, (fps,)) == Timing(fps=fps)
    if count > 30 and rate != "120":  # without help, the nearest of the usual ones
        found = Timing.of(stamps, clock, (None, Fraction(1000)))
        assert not found.times
        assert abs(found.fps / fps - 1) < 1e-3


@given(st.lists(st.integers(1, 10**6), min_size=2, max_size=60), st.sampled_from(["1/1000", "1/90000"]))
def test_times_are_exact_or_off_by_a_rounding(steps: list[int], tick: str) -> None:
    stamps = list(itertools.accumulate(steps))
    timing = Timing.of(stamps, Fraction(tick), (Fraction(30), None), last=steps[0])
    for number, stamp in enumerate(stamps):
        off = abs(timing.at(number) - (stamp - stamps[0]) * Fraction(tick))
        assert off <= (0 if timing.times else Fraction(11, 10_000))
    if timing.times:
        assert timing.fps == len(stamps) / (timing.times[-1] * Fraction(tick))


@pytest.mark.parametrize("stamps", [[None, None], [0, None, 2], [0, 5, 3], [0, 0, 1], [7], []])
def test_stamps_that_say_nothing_leave_the_claimed_rate(stamps: list[int | None]) -> None:
    assert Timing.of(stamps, Fraction(1, 1000), (Fraction(30),)) == Timing(fps=Fraction(30))
    assert Timing.of(stamps, Fraction(1, 1000), (None, Fraction(90_000))) == Timing(fps=Fraction(25))


# --- shape ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("aspect", "rotation", "shape"),
    [
        ("4/3", 0, (72, 128)),
        ("3/4", 0, (96, 96)),
        ("4/3", 90, (128, 72)),
        ("16/15", 180, (72, 102)),
        ("1", 90, (96, 72)),
    ],
)
def test_pixels_become_square(aspect: str, rotation: int, shape: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    write(path, [blocks(n, 96, 72) for n in range(3)], aspect=Fraction(aspect), rotation=rotation)
    info = probe_apart(path, DecodeLimits())
    frames = list(stream(path))
    assert {frame.shape for frame in frames} == {(*shape, 3)}
    assert (info.height, info.width) == shape
    assert bool(info.changed) == (aspect != "1")
    assert read_frames(path, [2, 0]).shape == (2, *shape, 3)
    np.testing.assert_array_equal(read_frames(path, [2])[0], frames[2]) if aspect != "1" else None


def test_the_shape_of_a_users_file(field: Path) -> None:
    """A circle of 288 lines is as wide as high when 288 columns are 384 pixels wide."""
    info = probe(field / "videos/sar43.mp4")
    assert (info.width, info.height) == (384, 288)
    assert info.changed == ("288×288 stretched to square pixels",)


def test_squeezed_pictures_are_anonymized_in_their_shape(films: Films, run: Run, tmp_path: Path) -> None:
    source = write(tmp_path / "squeezed.mp4", [f[:, ::2] for f in stream(films.a)], aspect=Fraction(2))
    row, out = anonymized(films, run, tmp_path, source)
    assert (row.width, row.height) == (96, 72)
    assert probe(out).changed == ()  # square now, and said to be
    with av.open(str(out)) as container:
        assert container.streams.video[0].sample_aspect_ratio in (None, 1)
    assert json.loads(row.metrics)["source_changed"] == ["48×72 stretched to square pixels"]


# --- combs ----------------------------------------------------------------------------------------------


def combs(frame_HW3: np.ndarray) -> float:
    """How much lines differ from both of their neighbours in one direction: much where there are combs."""
    luma = frame_HW3.mean(-1)
    up, down = luma[1:-1] - luma[:-2], luma[1:-1] - luma[2:]
    return float(np.mean(np.where(up * down > 0, np.minimum(np.abs(up), np.abs(down)), 0)))


@pytest.mark.parametrize(("codec", "flags"), [("mpeg2video", "+ildct+ilme"), ("libx264", None)])
def test_interlaced_video_loses_its_combs(codec: str, flags: str | None, tmp_path: Path) -> None:
    fields = [blocks(n, 192, 96) for n in range(24)]
    woven = []
    for top, bottom in zip(fields[::2], fields[1::2], strict=True):
        frame = top.copy()
        frame[1::2] = bottom[1::2]
        woven.append(frame)
    options = (
        {"flags": flags, "field_order": "tt", "q": "2"} if flags else {"x264-params": "tff=1", "crf": "10"}
    )
    path = tmp_path / ("x.mpg" if codec == "mpeg2video" else "x.mp4")
    write(path, woven, codec=codec, options=options)
    frames = list(stream(path))
    info = probe(path)
    assert info.changed == ("deinterlaced",)
    assert len(frames) == info.num_frames == len(woven)
    assert combs(woven[5]) > 1.2
    assert max(combs(frame) for frame in frames[1:-1]) < 0.25 * combs(woven[5])
    # Each stays at its own time: its first field is where it was.
    for number in (3, 7):
        error = [np.abs(frames[number].astype(int) - fields[n]).mean() for n in range(len(fields))]
        assert int(np.argmin(error)) in (2 * number, 2 * number + 1)
    np.testing.assert_array_equal(read_frames(path, [4])[0], frames[4])


def test_the_combs_of_a_users_file(field: Path) -> None:
    path = field / "videos/interlaced.mpg"
    info = probe(path)
    assert (info.width, info.height, info.num_frames) == (768, 576, 15)
    assert set(info.changed) == {"720×576 stretched to square pixels", "deinterlaced"}
    with av.open(str(path)) as container:
        raw = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    shown = list(stream(path))
    assert len(shown) == 15
    worst = max(range(15), key=lambda n: combs(raw[n]))
    assert combs(shown[worst]) < 0.6 * combs(raw[worst])


# --- colours --------------------------------------------------------------------------------------------


def coded(light: np.ndarray, kind: str) -> np.ndarray:
    """uint16 codes of light in cd/m² of BT.2020 primaries, by the definitions of BT.2100."""
    if kind == "PQ":
        return np.rint(65_535 * tone.pq_of(light)).astype(np.uint16)
    luminance = light @ np.array([0.2627, 0.6780, 0.0593])
    scene = light / 1000 * (np.maximum(luminance, 1e-9) / 1000)[..., None] ** (1 / 1.2 - 1)
    low, high = (
        np.sqrt(3 * scene),
        0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073,
    )
    return np.rint(65_535 * np.where(scene <= 1 / 12, low, high)).astype(np.uint16)


@pytest.mark.parametrize("kind", ["PQ", "HLG"])
def test_light_comes_back(kind: str) -> None:
    """Grey of some cd/m² looks on a display of 100 cd/m² as it did, up to where highlights are rolled off."""
    light = np.array([0.5, 1, 5, 10, 20, 30])
    shown = tone.to_sdr(coded(np.repeat(light[:, None, None], 3, 2), kind), kind)[:, 0]
    assert shown[:, 0] == pytest.approx(255 * (light / 100) ** (1 / 2.4), abs=1.5)
    assert np.ptp(shown.astype(int), axis=1).max() <= 1
    bright = tone.to_sdr(
        coded(np.repeat(np.array([100.0, 203, 400, 1000])[:, None, None], 3, 2), kind), kind
    )[:, 0, 0]
    assert (np.diff(bright.astype(int)) > 0).all()
    assert 215 < bright[0] < 250
    assert bright[-1] >= 254


def test_pq_is_that_of_the_standard() -> None:
    """SMPTE ST 2084 at points that tables give."""
    assert tone.pq_of(np.array([0.0, 100.0, 203.0, 1000.0, 10_000.0])) == pytest.approx(
        [0, 0.5081, 0.5807, 0.7518, 1], abs=2e-4
    )
    assert tone.light_of_pq(tone.pq_of(np.array([0.1, 50.0, 4000.0]))) == pytest.approx([0.1, 50, 4000])


@pytest.mark.parametrize(("kind", "transfer"), [("HLG", 18), ("PQ", 16)])
def test_hdr_keeps_its_colours(kind: str, transfer: int, tmp_path: Path) -> None:
    """Patches of BT.709 colours, put into BT.2020 and HDR by their definitions, come back as they were."""
    patches = np.array(
        [[180, 60, 50], [60, 140, 70], [50, 70, 160], [200, 200, 200], [120, 120, 120], [30, 30, 30]]
    )
    light = 40 * (patches / 255) ** 2.4  # dim enough for the roll-off not to matter
    to_2020 = np.linalg.inv(
        np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])
    )
    codes = coded((light @ to_2020.T)[None].repeat(32, 0).repeat(16, 1), kind)
    path = tmp_path / "x.mp4"
    write(
        path,
        [codes] * 3,
        codec="libx265",
        pixels="yuv420p10le",
        options={"crf": "4", "x265-params": "log-level=0"},
        tags=(9, transfer, 9),
    )
    info = probe_apart(path, DecodeLimits())
    assert info.changed == (f"brought from {kind} to BT.709",)
    shown = next(stream(path))[16, 8::16].astype(int)
    wanted = 255 * (0.4 ** (1 / 2.4)) * patches / 255
    assert np.abs(shown - wanted).max() < 8, (shown, wanted)
    with VideoWriter(tmp_path / "out.mp4", width=info.width, height=info.height, fps=25) as writer:
        writer.write(next(stream(path)))
    assert probe(tmp_path / "out.mp4").changed == ()


def test_the_colours_of_a_users_file(field: Path) -> None:
    """The same scene is in the other files: it must look alike, where it was 40 levels darker and paler."""
    shown, other = (next(stream(field / "videos" / name)) for name in ("hdr_hlg.mov", "sar43.mp4"))
    assert np.abs(shown.astype(int) - other).mean() < 12
    assert np.corrcoef(shown.ravel(), other.ravel())[0, 1] > 0.99


# --- covers ---------------------------------------------------------------------------------------------


def test_a_cover_is_not_the_film(field: Path) -> None:
    path = field / "videos/cover_first.mp4"
    info: VideoInfo = probe_apart(path, DecodeLimits())
    assert (info.width, info.height, info.num_frames, info.fps) == (384, 288, 20, 25)
    assert read_frames(path, [0, 19]).shape == (2, 288, 384, 3)
    np.testing.assert_array_equal(read_frames(path, [7])[0], next(itertools.islice(stream(path), 7, None)))


def test_sizes_are_limited_as_they_are_shown(tmp_path: Path) -> None:
    path = write(tmp_path / "x.mp4", [blocks(0, 96, 72)] * 2, aspect=Fraction(8))
    shutil.copy(path, tmp_path / "y.mp4")
    with pytest.raises(UserError, match="frames of 768×72 pixels"):
        probe_apart(path, DecodeLimits(megapixels=0.05))
