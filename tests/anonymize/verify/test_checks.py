"""Each rule finds what it is there for, and a sound output breaks none."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymaskdp.anonymize.verify.checks import Digest, FrameChecks, check_files
from raymaskdp.anonymize.verify.config import VerifyConfig
from raymaskdp.errors import UserError
from raymaskdp.video import masks
from raymaskdp.video.reader import VideoInfo
from raymaskdp.video.writer import VideoWriter

HEIGHT, WIDTH, FRAMES = 80, 96, 4


SOUND = {
    "avatars": 1, "silhouettes": 0, "background": 0, "filled": 0, "blank": 0, "blanked": 0, "masked": 1800,
    "avatar_pixels": 1500, "silhouette_pixels": 0, "changed": 20, "surviving": 0,
}  # fmt: skip
"""A frame with one person, who is an avatar."""


def checks(config: VerifyConfig | None = None, **changes: int) -> FrameChecks:
    """Checks of a video with one person, well replaced, but for `changes` in its last frame."""
    made = FrameChecks(config or VerifyConfig(), num_frames=FRAMES, height=HEIGHT, width=WIDTH)
    for index in range(FRAMES):
        made.add(index, **{**SOUND, **(changes if index == FRAMES - 1 else {})})
    return made


def test_a_sound_video_has_no_problem() -> None:
    assert checks().failures() == checks().excesses() == []
    assert checks().summary() == {name: [count] * FRAMES for name, count in SOUND.items()}
    assert checks().by_rung() == {"avatars": 4, "silhouettes": 0, "background": 0, "filled": 0, "blank": 0}


def test_pixels_that_survive_are_a_failure() -> None:
    (failure,) = checks(surviving=1).failures()
    assert "survive in frame 3" in failure


def test_a_frame_that_was_never_made_is_a_failure() -> None:
    made = FrameChecks(VerifyConfig(), num_frames=3, height=HEIGHT, width=WIDTH)
    (failure,) = made.failures()
    assert "frames 0, 1, 2" in failure
    with pytest.raises(KeyError):
        made.add(0, surviving=0)  # a count that is left out is no zero
    with pytest.raises(TypeError, match="witnesses"):
        made.add(0, **SOUND, witnesses=1)


@given(
    rungs=st.lists(st.integers(0, 5), min_size=5, max_size=5),
    limit=st.floats(0, 1),
)
def test_a_limit_is_on_the_share_of_what_is_less_than_a_silhouette(rungs: list[int], limit: float) -> None:
    avatars, silhouettes, background, filled, blank = rungs
    made = FrameChecks(VerifyConfig(max_redacted=limit, max_blank=1), num_frames=1, height=8, width=8)
    counts = {
        "avatars": avatars, "silhouettes": silhouettes, "background": background, "filled": filled,
        "blank": blank,
    }  # fmt: skip
    made.add(0, **{**SOUND, **counts})
    low, everybody = background + filled + blank, sum(rungs)
    beyond = everybody > 0 and low / everybody > limit
    assert bool(made.excesses()) == beyond
    assert not made.failures()
    assert made.by_rung() == counts


def test_a_limit_is_on_blank_frames_whoever_is_in_them() -> None:
    assert checks(VerifyConfig(max_redacted=1), blanked=1, blank=1, avatars=0).excesses() == [
        "25% of the frames are blank (verify.max_blank=0.2)"
    ]
    assert checks(VerifyConfig(max_blank=0.25), blanked=1, blank=1, avatars=0).excesses() == []
    assert checks(VerifyConfig(max_blank=0, max_redacted=0)).excesses() == []


def test_a_few_redacted_frames_of_a_video_without_tracked_people_are_little_of_it() -> None:
    """Two of thirty were all of its person-frames, so one false alarm refused the video."""
    made = FrameChecks(VerifyConfig(), num_frames=30, height=8, width=8)
    for index in range(30):
        made.add(index, **{**SOUND, "avatars": 0, "background": int(index < 15)})
    assert made.excesses() == []
    assert made.lowered() == list(range(15))
    made.background_T[15] = 1
    assert made.excesses() == [
        "people are redacted to less than a silhouette 16 times in 30 frames with 16 person-frames "
        "(verify.max_redacted=0.5)"
    ]


def test_an_empty_video_is_beyond_no_limit() -> None:
    made = FrameChecks(VerifyConfig(max_redacted=0, max_blank=0), num_frames=1, height=8, width=8)
    made.add(0, **dict.fromkeys(SOUND, 0))
    assert made.excesses() == made.failures() == []


def test_counts_are_put_together_from_pieces() -> None:
    whole, put = checks(filled=2), FrameChecks(VerifyConfig(), num_frames=FRAMES, height=HEIGHT, width=WIDTH)
    for frames in (range(3), range(3, FRAMES)):
        put.paste(frames, whole.counts_T(frames))
    assert put.summary() == whole.summary()


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_overlap": 1.1}, {"max_redacted": -0.1}, {"max_blank": 2}, {"faces": 0}, {"people": 1.5},
        {"empty": "delete"}, {"detector_side": 100}, {"detector_confidence": 1},
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        VerifyConfig(**wrong)


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
