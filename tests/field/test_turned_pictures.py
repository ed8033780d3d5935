"""Frames are shown as the display matrix of their file says: turned, mirrored, or both."""

import json
import math
import struct
from pathlib import Path

import numpy as np
import pytest
from support.field_films import Films, Run
from support.filmed import write

from raymaskdp.anonymize.output.manifest import read_manifest
from raymaskdp.errors import UserError
from raymaskdp.video.reader import probe, read_frames, stream
from raymaskdp.video.sandbox import DecodeLimits
from raymaskdp.video.sandbox import probe as probe_apart

# Where a coded pixel (x, y) is shown is (a x + c y, b x + d y); the same as a function of rows and columns.
SHOWN = {
    (1, 0, 0, 1): lambda frame: frame,
    (0, 1, -1, 0): lambda frame: np.rot90(frame, -1),
    (-1, 0, 0, -1): lambda frame: np.rot90(frame, 2),
    (0, -1, 1, 0): lambda frame: np.rot90(frame),
    (-1, 0, 0, 1): lambda frame: frame[:, ::-1],
    (1, 0, 0, -1): lambda frame: frame[::-1],
    (0, 1, 1, 0): lambda frame: frame.transpose(1, 0, 2),
    (0, -1, -1, 0): lambda frame: frame.transpose(1, 0, 2)[::-1, ::-1],
}


def with_matrix(path: Path, a: float, b: float, c: float, d: float) -> Path:
    """Put a display matrix into the track header of an MP4 file."""
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 40
    one = 65536
    assert struct.unpack(">9i", content[at : at + 36]) == (one, 0, 0, 0, one, 0, 0, 0, 1 << 30)
    numbers = [round(one * value) for value in (a, b, 0, c, d, 0, 0, 0)]
    content[at : at + 36] = struct.pack(">9i", *numbers, 1 << 30)
    path.write_bytes(content)
    return path


def frames() -> list[np.ndarray]:
    rows, columns = np.mgrid[:72, :96]
    return [np.stack([rows * 3, columns * 2, 0 * rows + 30 * n], -1).astype(np.uint8) for n in range(3)]


@pytest.mark.parametrize("matrix", SHOWN, ids=str)
def test_frames_are_upright(matrix: tuple[int, int, int, int], tmp_path: Path) -> None:
    path = write(tmp_path / "x.mp4", frames())
    coded = list(stream(path))
    with_matrix(path, *matrix)
    info, shown = probe_apart(path, DecodeLimits()), list(stream(path))
    for seen, frame in zip(shown, coded, strict=True):
        np.testing.assert_array_equal(seen, SHOWN[matrix](frame))
    assert (info.height, info.width) == shown[0].shape[:2]
    picked = read_frames(path, [2, 0])
    # decord rounds its colours a little differently
    assert np.abs(picked.astype(int) - np.stack([shown[2], shown[0]])).mean() < 2


def test_an_angle_that_is_no_quarter_turn_is_refused(tmp_path: Path) -> None:
    cosine, sine = math.cos(math.radians(30)), math.sin(math.radians(30))
    path = with_matrix(write(tmp_path / "x.mp4", frames()), cosine, sine, -sine, cosine)
    with pytest.raises(UserError, match="turned by 30°, which is no quarter turn"):
        probe_apart(path, DecodeLimits())


def test_a_matrix_that_says_nothing_changes_nothing(tmp_path: Path) -> None:
    plain = probe(path := write(tmp_path / "x.mp4", frames()))
    assert probe(with_matrix(path, 0, 0, 0, 0)) == plain


@pytest.mark.parametrize("matrix", [(-1, 0, 0, 1), (0, 1, 1, 0)], ids=str)
def test_a_mirrored_film_is_anonymized_upright(
    films: Films, run: Run, tmp_path: Path, matrix: tuple[int, int, int, int]
) -> None:
    """The film is coded mirrored, so that its people stand where their poses are only if it is shown so."""
    coded = [np.ascontiguousarray(SHOWN[matrix](frame)) for frame in stream(films.a)]
    (tmp_path / "videos").mkdir()
    with_matrix(write(tmp_path / "videos/a.mp4", coded), *matrix)
    run(tmp_path / "videos", tmp_path / "out")
    (row,) = read_manifest(tmp_path / "out").values()
    assert (row.status, row.width, row.height) == ("done", 96, 72)
    assert probe(tmp_path / "out/a.mp4").mirrored is False
    assert json.loads(row.metrics)["surviving_pixels"] == 0
    with np.load(tmp_path / "out/a.npz") as arrays:
        inside = np.unpackbits(arrays["person_masks"], axis=1)[:, : 72 * 96].reshape(-1, 72, 96).astype(bool)
    for made, source, person in zip(stream(tmp_path / "out/a.mp4"), stream(films.a), inside, strict=True):
        assert np.abs(made.astype(int) - source)[~person].mean() < 8
