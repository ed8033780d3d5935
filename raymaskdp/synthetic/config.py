"""Settings of the sample data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Unit

from raymaskdp import check
from raymaskdp.errors import UserError

# A test compares these with the table of actions, which needs scipy.
ActionName = Literal[
    "wave", "raise_arms", "clap", "jumping_jack", "squat", "kick", "walk", "bow",
    "punch", "side_stretch", "improvise", "step_about",
]  # fmt: skip
MotionName = Literal["static", "pan", "handheld", "dolly"]
Metres = Annotated[float, check.Range(0.5, 4), Unit("m")]


@dataclass(frozen=True, kw_only=True)
class SynthesizeConfig:
    """What to render. Every person performs every action `takes` times.

    Attributes:
      seed: of all random numbers; the same configuration gives the same videos.
      actions: what people do; the labels.
      people: number of people; each has one body, appearance, outfit and manner of moving.
      takes: videos for each person and action.
      rooms, cameras: number of rooms, and of cameras in each.
      camera_height, camera_distance: least and greatest of the cameras: above the floor, and along
        the floor from the middle of the room. Nearer cameras have wider lenses.
      motion: of the cameras.
      frames, fps, width, height: of every video.
      persons_per_video: people in one video, who perform the same action side by side.
      spread: largest distance of people from the middle, to each side and along the line of sight. In
        recorded data sets it is about half a metre, so that other videos show the background that one person
        hides.
      test_share: share of the people (not of the videos) in the split "test".
      noise: standard deviation of the camera's noise, in 8-bit levels.
    """

    seed: Annotated[int, check.Range(0)] = 0
    actions: tuple[ActionName, ...] = (
        "wave", "raise_arms", "clap", "jumping_jack", "squat", "kick", "walk", "bow",
    )  # fmt: skip
    people: Annotated[int, check.Range(1, 100_000)] = 12
    takes: Annotated[int, check.Range(1, 100_000)] = 1
    rooms: Annotated[int, check.Range(1, 100_000)] = 8
    cameras: Annotated[int, check.Range(1, 100_000)] = 2
    camera_height: tuple[Metres, Metres] = (1.2, 1.9)
    camera_distance: tuple[Metres, Metres] = (3.0, 3.5)
    motion: MotionName = "static"
    frames: Annotated[int, check.Range(1, 100_000)] = 36
    fps: Annotated[float, check.Range(1, 240), Unit("frames/s")] = 12.0
    width: Annotated[int, check.Range(32, 4096), Unit("px")] = 192
    height: Annotated[int, check.Range(32, 4096), Unit("px")] = 144
    persons_per_video: Annotated[int, check.Range(1, 2)] = 1
    spread: Annotated[float, check.Range(0, 1.5), Unit("m")] = 0.25
    test_share: Annotated[float, check.FRACTION] = 0.25
    noise: Annotated[float, check.Range(0, 50)] = 2.0

    def __post_init__(self) -> None:
        check.fields(self)
        check.in_range("persons_per_video", self.persons_per_video, low=1, high=min(2, self.people))
        for name, (low, high), most in (
            ("camera_height", self.camera_height, 2.4), ("camera_distance", self.camera_distance, 4.0),
        ):  # fmt: skip
            check.in_range(f"{name}[0]", low, low=0.5, high=most)
            check.in_range(f"{name}[1]", high, low=low, high=most)
        if not self.actions:
            raise UserError("actions must name at least one action.")
