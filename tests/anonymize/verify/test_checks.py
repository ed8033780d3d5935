"""Each rule finds what it is there for, and a sound output breaks none."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from raymaskdp.anonymize.verify.checks import (
    Digest,
    FrameChecks,
    VerifyConfig,
    check_files,
    detector_problems,
)
from raymaskdp.video import masks
from raymaskdp.video.reader import VideoInfo
from raymaskdp.video.writer import VideoWriter

HEIGHT, WIDTH, FRAMES = 80, 96, 4


def checks(config: VerifyConfig | None = None, **changes: object) -> FrameChecks:
    """Checks of a video with one person, well replaced, but for `changes` in its last frame."""
    made = FrameChecks(config or VerifyConfig(), num_frames=FRAMES, height=HEIGHT, width=WIDTH)
    person = np.zeros((HEIGHT, WIDTH), bool)
    person[10:70, 30:60] = True
    usual = {
        "person_masks": [person],
        "drawn": [True],
        "avatar_mask_HW": person,
        "silhouettes_HW": np.zeros((HEIGHT, WIDTH), bool),
        "masked": 1800,
        "changed": 20,
        "surviving": 0,
    }
    for index in range(FRAMES):
        made.add(index, **{**usual, **(changes if index == FRAMES - 1 else {})})  # type: ignore[arg-type]
    return made


def test_a_sound_video_has_no_problem() -> None:
    assert checks().problems() == []
    assert checks().summary()["replaced"] == [1] * FRAMES


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"surviving": 1}, "survive in frame 3"),
        ({"drawn": [False]}, "no avatar in frame 3"),
        ({"avatar_mask_HW": np.zeros((HEIGHT, WIDTH), bool)}, "no avatar in frame 3"),
        ({"changed": HEIGHT * WIDTH // 2}, "moves outside the person masks in frame 3"),
    ],
)
def test_each_rule_finds_its_fault(changes: dict[str, object], reason: str) -> None:
    (problem,) = checks(**changes).problems()
    assert reason in problem


def test_a_silhouette_replaces_whom_no_avatar_can() -> None:
    person = np.zeros((HEIGHT, WIDTH), bool)
    person[10:70, 30:60] = True
    nobody = np.zeros_like(person)
    assert checks(drawn=[False], avatar_mask_HW=nobody, silhouettes_HW=person).problems() == []
    # ... but somebody's silhouette does not replace a person whose avatar is missing.
    (problem,) = checks(drawn=[True], avatar_mask_HW=nobody, silhouettes_HW=person).problems()
    assert "no avatar" in problem


def test_a_frame_that_was_never_made_is_a_fault() -> None:
    made = FrameChecks(VerifyConfig(require_people=False), num_frames=3, height=HEIGHT, width=WIDTH)
    assert "frames 0, 1, 2" in made.problems()[0]


def test_nobody_found_is_a_fault_unless_allowed() -> None:
    empty = {"person_masks": [], "drawn": []}
    assert checks(**empty).problems() == []  # the other frames show somebody
    for require in (True, False):
        made = FrameChecks(VerifyConfig(require_people=require), num_frames=1, height=8, width=8)
        nobody = np.zeros((8, 8), bool)
        nothing = {"masked": 0, "changed": 0, "surviving": 0}
        made.add(0, person_masks=[], drawn=[], avatar_mask_HW=nobody, silhouettes_HW=nobody, **nothing)
        assert bool(made.problems()) == require


def test_detectors_are_listened_to() -> None:
    def sees_white(frame: np.ndarray) -> tuple[str, ...]:
        return ("a face",) if (frame == 255).all() else ()

    black, white = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)
    assert detector_problems(sees_white, [("the plate", black)]) == []
    (problem,) = detector_problems(sees_white, [("the plate", black), ("frame 2", white)])
    assert "a face" in problem
    assert "frame 2" in problem


class Output:
    """A source, its composite and its avatar layer on disk, with one fault on request."""

    def __init__(self, folder: Path, fault: str = "") -> None:
        rng = np.random.default_rng(0)
        base = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
        coverage = np.zeros((HEIGHT, WIDTH), bool)
        coverage[20:60, 30:60] = True
        digest = Digest()
        for name in ("source", "composite", "avatar"):
            size = {"width": WIDTH, "height": HEIGHT + 2 * (fault == "size" and name == "composite")}
            count = FRAMES - (fault == "length" and name == "composite")
            with VideoWriter(folder / f"{name}.mp4", fps=25, lossless=name == "avatar", **size) as writer:
                for index in range(count):
                    frame = np.resize(base, (size["height"], WIDTH, 3)).copy()
                    if name == "avatar":
                        frame[:] = 0
                        frame[coverage] = rng.integers(1, 256, (coverage.sum(), 3))
                        if fault == "spill" and index == 2:
                            frame[5, 5] = 1
                        digest.add(frame, coverage)
                        if fault == "other" and index == 1:
                            frame[30, 40] ^= 1
                    writer.write(frame)
        packed = np.repeat(masks.pack(coverage)[None], FRAMES, axis=0)
        self.arguments = {
            "source": folder / "source.mp4",
            "composite": folder / "composite.mp4",
            "avatar": folder / "avatar.mp4",
            "info": VideoInfo(width=WIDTH, height=HEIGHT, fps=Fraction(25), num_frames=FRAMES),
            "replaced_TB": packed,
            "avatar_TB": packed,
            "avatar_digest": digest.hex(),
        }


def test_sound_files_have_no_problem(tmp_path: Path) -> None:
    found = check_files(**Output(tmp_path).arguments)
    assert found.problems == ()
    assert found.background_psnr is not None
    assert found.background_psnr > 40


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("length", "ends early"),
        ("size", "another size"),
        ("spill", "not black outside"),
        ("other", "not the one that was drawn"),
    ],
)
def test_faulty_files_are_found(tmp_path: Path, fault: str, reason: str) -> None:
    assert any(reason in problem for problem in check_files(**Output(tmp_path, fault).arguments).problems)
