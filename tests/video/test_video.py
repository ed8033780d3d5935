"""What is written is what is read, exactly or within the limits of the codec, and bad files say why."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace

from raymaskdp.errors import UserError
from raymaskdp.video.reader import probe, read_frames, stream
from raymaskdp.video.writer import VideoWriter


def scenery(num_frames: int, height: int, width: int) -> np.ndarray:
    """Natural-looking frames: smooth saturated colours, soft edges, some noise; uint8 [T, H, W, 3]."""
    rng = np.random.default_rng(height * width)
    coarse = rng.uniform(40, 215, (3, 4, 3)).astype(np.float32)
    base = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    frames = [base * (1 - 0.05 * (t % 10)) + rng.normal(0, 0.7, base.shape) for t in range(num_frames)]
    return np.clip(frames, 0, 255).astype(np.uint8)


def write(path: Path, frames: np.ndarray, fps: Fraction | float = 25, **options: bool) -> Path:
    with VideoWriter(path, width=frames.shape[2], height=frames.shape[1], fps=fps, **options) as writer:
        for frame in frames:
            writer.write(frame)
    return path


@pytest.mark.parametrize(("height", "width"), [(48, 64), (49, 64), (37, 51)])
def test_lossless_is_bit_exact(tmp_path: Path, height: int, width: int) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (7, height, width, 3), dtype=np.uint8)
    path = write(tmp_path / "a.mp4", frames, lossless=True)
    np.testing.assert_array_equal(np.stack(list(stream(path))), frames)
    order = [6, 0, 3, 3]
    np.testing.assert_array_equal(read_frames(path, order), frames[order])


@pytest.mark.parametrize(("height", "width"), [(144, 192), (143, 191), (720, 1280)])
@pytest.mark.parametrize("full_range", [False, True])
def test_colours_do_not_shift(tmp_path: Path, height: int, width: int, full_range: bool) -> None:
    frames = scenery(3, height, width)
    path = write(tmp_path / "a.mp4", frames, full_range=full_range)
    read = np.stack(list(stream(path)))
    assert cv2.PSNR(read, frames) >= 40
    assert np.abs(read.astype(float).mean((0, 1, 2)) - frames.astype(float).mean((0, 1, 2))).max() < 1
    info = probe(path)
    assert (info.height, info.width, info.num_frames) == (height, width, 3)
    assert info.full_range == full_range
    assert info.matrix == ("bt709" if height >= 720 else "bt601")


def test_plays_in_browsers(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", scenery(5, 48, 64), Fraction(30000, 1001))
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        assert (video.codec_context.name, video.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert len(container.streams) == 1
        assert video.average_rate == Fraction(30000, 1001)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # it starts to play before it is loaded


def test_same_frames_same_bytes(tmp_path: Path) -> None:
    frames = scenery(6, 144, 192)
    contents = {write(tmp_path / f"{n}.mp4", frames).read_bytes() for n in range(12)}
    assert len(contents) == 1


@pytest.mark.parametrize("matrix", [Colorspace.ITU709, Colorspace.ITU601])
@pytest.mark.parametrize("full", [False, True])
def test_tags_of_the_source_are_obeyed(tmp_path: Path, matrix: Colorspace, full: bool) -> None:
    """A file written by FFmpeg itself, in each matrix and range, gives the same picture."""
    frame = scenery(1, 96, 128)[0]
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("ffv1", rate=25)
        video.width, video.height, video.pix_fmt = 128, 96, "yuv444p"
        video.codec_context.colorspace = 1 if matrix == Colorspace.ITU709 else 6
        video.codec_context.color_range = 2 if full else 1
        picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(
            format="yuv444p",
            src_color_range=ColorRange.JPEG,
            dst_colorspace=matrix,
            dst_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
        )
        container.mux(video.encode(picture))
        container.mux(video.encode(None))
    (read,) = stream(path)
    assert np.abs(read.astype(int) - frame).max() <= 4


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_applied(tmp_path: Path, degrees: int) -> None:
    frame = scenery(1, 76, 100)[0]
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264rgb", rate=25, options={"qp": "0"})
        video.width, video.height, video.pix_fmt = 100, 76, "rgb24"
        video.set_display_rotation(degrees)
        for _ in range(3):
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(video.encode(None))
    upright = np.rot90(frame, degrees // 90)
    info = probe(path)
    assert info.rotation == degrees
    assert (info.height, info.width) == upright.shape[:2]
    np.testing.assert_array_equal(next(stream(path)), upright)
    np.testing.assert_array_equal(read_frames(path, [1])[0], upright)


def test_seeking_agrees_with_streaming(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", scenery(40, 144, 192))
    streamed = np.stack(list(stream(path)))
    order = [39, 0, 17, 18]
    # decord rounds its colours a little differently; another frame would differ by far more
    assert np.abs(read_frames(path, order).astype(int) - streamed[order]).mean() < 2
    assert np.abs(streamed[17].astype(int) - streamed[18]).mean() > 4
    with pytest.raises(IndexError):
        read_frames(path, [40])


def bad_file(kind: str, folder: Path) -> Path:
    """A file with one thing wrong with it."""
    path = folder / f"{kind}.mp4"
    good = write(folder / "good.mp4", scenery(50, 96, 128)).read_bytes()
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("This is a diary, not a video.\n" * 50)
    elif kind == "truncated":
        path.write_bytes(good[: len(good) * 2 // 3])
    elif kind == "headless":
        path.write_bytes(good[len(good) // 2 :])
    elif kind == "folder":
        path.mkdir()
    elif kind == "playlist":
        path.write_text(f"ffconcat version 1.0\nfile '{folder / 'good.mp4'}'\n")
    elif kind == "sound":
        with av.open(str(path), "w") as container:
            audio = container.add_stream("aac", rate=16000)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 16000
            container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return path


BAD = {
    "missing": "does not exist",
    "empty": "empty",
    "text": "not a video",
    "truncated": "truncated",
    "headless": "not a video",
    "folder": "folder",
    "playlist": "not a video",
    "sound": "no video stream",
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_say_what_is_wrong(tmp_path: Path, kind: str) -> None:
    path = bad_file(kind, tmp_path)
    with pytest.raises(UserError, match=BAD[kind]) as error:
        probe(path)
    assert str(path) in str(error.value)
    assert str(error.value).count(". ") == 0  # one sentence
    with pytest.raises(UserError):
        list(stream(path))


def test_truncated_avi(tmp_path: Path, shared_videos: Path) -> None:
    data = (shared_videos / "v_ApplyEyeMakeup_g01_c01.avi").read_bytes()
    path = tmp_path / "a.avi"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="truncated"):
        probe(path)


def test_real_clips_are_whole(shared_videos: Path) -> None:
    found = {path.name: probe(path) for path in shared_videos.iterdir() if path.is_file()}
    clip = found["S001C001P001R001A001_rgb.avi"]
    assert (clip.width, clip.height, clip.num_frames, clip.fps) == (1920, 1080, 103, 30)
    assert found["kinetics_basketball.mp4"].num_frames == 300
    assert found["v_ApplyEyeMakeup_g01_c01.avi"].num_frames == 164


def test_wrong_frames_are_refused(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", width=16, height=16, fps=10) as writer:
        with pytest.raises(ValueError, match="expected"):
            writer.write(np.zeros((16, 18, 3), np.uint8))
        with pytest.raises(ValueError, match="expected"):
            writer.write(np.zeros((16, 16, 3), np.float32))
        writer.write(np.zeros((16, 16, 3), np.uint8))
    assert probe(tmp_path / "a.mp4").num_frames == 1
