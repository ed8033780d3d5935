"""Text in the background: found, followed between processed frames, and removed if that was asked for."""

import dataclasses
import json
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymaskdp.anonymize import AnonymizeConfig, anonymize
from raymaskdp.anonymize.output.manifest import read_manifest
from raymaskdp.anonymize.text.detector import TextDetector
from raymaskdp.anonymize.text.film import EVERY_S, find_text
from raymaskdp.synthetic.config import SynthesizeConfig
from raymaskdp.synthetic.synthesize import synthesize
from raymaskdp.video import masks, reader
from raymaskdp.video.reader import VideoInfo
from raymaskdp.video.writer import VideoWriter

H, W = 240, 320
LINES = {"Ward 12": (12, 40), "Dr. A. Meyer": (150, 225), "21.04.1956": (190, 60)}
"""Lines and their left lower corners."""


@pytest.fixture(scope="module")
def detect() -> TextDetector:
    return TextDetector()


def room() -> np.ndarray:
    """A wall with grain over a floor with boards."""
    rng = np.random.default_rng(0)
    picture = np.full((H, W, 3), 190, np.uint8)
    picture[170:] = (120, 90, 70)
    picture[170:, ::16] = (90, 60, 50)
    return np.clip(picture + rng.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)


def write(picture: np.ndarray, scale: float = 0.7) -> np.ndarray:
    """The picture with all lines, black on white."""
    picture = picture.copy()
    for line, (x, y) in LINES.items():
        (w, h), below = cv2.getTextSize(line, cv2.FONT_HERSHEY_SIMPLEX, scale, 2)
        picture[y - h - 4 : y + below + 2, x - 4 : x + w + 4] = 240
        cv2.putText(picture, line, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, (20, 20, 60), 2, cv2.LINE_AA)
    return picture


@pytest.mark.parametrize("scale", [0.5, 0.7])
def test_every_line_is_inside_a_box(detect: TextDetector, scale: float) -> None:
    picture = write(room(), scale)
    boxes_N4 = detect(picture)
    covered = np.zeros((H, W), bool)
    for x0, y0, x1, y1 in boxes_N4.round().astype(int).tolist():
        covered[y0:y1, x0:x1] = True
    written = np.any(picture != room(), axis=2) & (picture.max(2) < 100)
    assert len(boxes_N4) == len(LINES)
    assert covered[written].all()
    assert covered.mean() < 0.35


def test_a_room_has_no_text(detect: TextDetector) -> None:
    assert detect(room()).shape == (0, 4)


def film_info(frames: int, fps: int) -> VideoInfo:
    return VideoInfo(width=W, height=H, fps=Fraction(fps), num_frames=frames)


@given(frames=st.integers(1, 40), fps=st.integers(1, 30), speed=st.integers(-6, 6))
def test_a_moving_line_is_covered_in_every_frame(frames: int, fps: int, speed: int) -> None:
    """Whatever the number of frames, and of processed ones among them."""
    speed = int(np.sign(speed) * min(abs(speed), 200 // frames, 60 / max(1, round(EVERY_S * fps))))
    pictures = [np.full((H, W, 3), index, np.uint8) for index in range(frames)]

    def line(index: int) -> np.ndarray:
        x = 120 + speed * index if speed > 0 else 200 + speed * index
        return np.array([x, 50.0, x + 64, 62.0])

    found = find_text(pictures, film_info(frames, fps), lambda picture: line(int(picture[0, 0, 0]))[None])
    assert found.lines == 1
    for index in range(frames):
        mask_HW = masks.unpack(found.masks_TB[index], H, W)
        x0, y0, x1, y1 = np.clip(line(index), 0, [W, H, W, H]).astype(int)
        assert mask_HW[y0:y1, x0:x1].mean() > 0.98
        assert mask_HW.sum() <= 1.3 * 64 * 12 + 200


def test_a_line_that_appears_is_covered_since_the_frame_processed_before() -> None:
    pictures = [np.full((H, W, 3), index, np.uint8) for index in range(9)]
    box_N4 = np.array([[10.0, 10, 50, 20]])
    found = find_text(
        pictures, film_info(9, 16), lambda picture: box_N4 if picture[0, 0, 0] >= 6 else np.zeros((0, 4))
    )
    assert found.masks_TB.any_T().tolist() == [index >= 4 for index in range(9)]


@pytest.fixture(scope="module")
def lettered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sample video with a line on its wall and a subtitle."""
    folder = tmp_path_factory.mktemp("lettered")
    synthesize(
        folder / "plain",
        SynthesizeConfig(
            seed=1, people=1, actions=("wave",), rooms=1, cameras=1, frames=8, width=320, height=240
        ),
    )
    (plain,) = (folder / "plain/videos").glob("*.mp4")
    (folder / "videos").mkdir()
    with VideoWriter(folder / "videos/a.mp4", width=320, height=240, fps=12) as written:
        for frame_HW3 in reader.stream(str(plain)):
            frame_HW3 = frame_HW3.copy()
            for text, corner in (("Mrs. Ottilie Brandt", (8, 24)), ("Room 305", (12, 226))):
                cv2.putText(frame_HW3, text, corner, cv2.FONT_HERSHEY_SIMPLEX, 0.6, (250, 250, 250), 2)
            written.write(frame_HW3)
    return folder


@pytest.mark.parametrize("text", ["keep", "remove"])
def test_text_is_gone_if_that_was_asked_for(
    lettered: Path, tmp_path: Path, detect: TextDetector, text: str
) -> None:
    plate = dataclasses.replace(AnonymizeConfig().plate, text=text)
    config = AnonymizeConfig(plate=plate, workers=0)
    result = anonymize(lettered / "videos", tmp_path / "out", config, progress=False)
    assert (result.done, result.quarantined, result.failed) == (1, 0, 0), str(result)
    metrics = json.loads(read_manifest(tmp_path / "out")["a"].metrics)
    assert metrics["surviving_pixels"] == 0
    assert metrics["person_frames"]["avatars"] == 8
    for frame_HW3 in reader.stream(str(tmp_path / "out/a.mp4")):
        middle_N = detect(frame_HW3)[:, [1, 3]].mean(axis=1)  # in rows; faces are taken for text, too
        above, below = (middle_N < 40).any(), (middle_N > 205).any()
        assert (above, below) == ((False, False) if text == "remove" else (True, True))
    assert metrics.get("text_lines", 0) >= (2 if text == "remove" else 0)
    assert ("text_lines" in metrics) == (text == "remove")
