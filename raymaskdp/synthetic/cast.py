"""The settings of the sample data, and the people in it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Unit

from raymaskdp import check
from raymaskdp.bodies.avatar import Avatar, draw_avatar
from raymaskdp.bodies.clothes.hair import HAIRSTYLES
from raymaskdp.bodies.clothes.wardrobe import OUTFITS
from raymaskdp.errors import UserError
from raymaskdp.synthetic.cameras import MOTIONS
from raymaskdp.synthetic.perform import PERFORMED
from raymaskdp.synthetic.poses import Manner, draw_manner

# Shape suffixes: P people in a video, T frames, V vertices, J = 52 joints, H rows, W columns.


@dataclass(frozen=True, kw_only=True)
class SynthesizeConfig:
    """What to render. Every person performs every action `takes` times.

    Attributes:
      seed: of all random numbers; the same configuration gives the same videos.
      actions: names in `actions.PERFORMED`; the labels.
      people: number of people; each has one body, appearance, outfit and manner of moving.
      takes: videos for each person and action.
      rooms, cameras: number of rooms, and of cameras in each.
      camera_height, camera_distance: least and greatest of the cameras, metres: above the floor, and along
        the floor from the middle of the room. Nearer cameras have wider lenses.
      motion: of the cameras, a name in `cameras.MOTIONS`.
      frames, fps, width, height: of every video.
      persons_per_video: people in one video, who perform the same action side by side.
      spread: largest distance of people from the middle, metres to each side and along the line of sight. In
        recorded data sets it is about half a metre, so that other videos show the background that one person
        hides.
      test_share: share of the people (not of the videos) in the split "test".
      noise: standard deviation of the camera's noise, in 8-bit levels.
    """

    seed: Annotated[int, check.Range(0)] = 0
    actions: tuple[str, ...] = (
        "wave", "raise_arms", "clap", "jumping_jack", "squat", "kick", "walk", "bow",
    )  # fmt: skip
    people: Annotated[int, check.Range(1, 100_000)] = 12
    takes: Annotated[int, check.Range(1, 100_000)] = 1
    rooms: Annotated[int, check.Range(1, 100_000)] = 8
    cameras: Annotated[int, check.Range(1, 100_000)] = 2
    camera_height: tuple[float, float] = (1.2, 1.9)
    camera_distance: tuple[float, float] = (3.0, 3.5)
    motion: str = "static"
    frames: Annotated[int, check.Range(1, 100_000)] = 36
    fps: Annotated[float, check.Range(1, 240), Unit("frames/s")] = 12.0
    width: Annotated[int, check.Range(32, 4096), Unit("px")] = 192
    height: Annotated[int, check.Range(32, 4096), Unit("px")] = 144
    persons_per_video: int = 1
    spread: Annotated[float, check.Range(0, 1.5), Unit("m")] = 0.25
    test_share: Annotated[float, check.FRACTION] = 0.25
    noise: Annotated[float, check.Range(0, 50)] = 2.0

    def __post_init__(self) -> None:
        check.fields(self)
        check.in_range("persons_per_video", self.persons_per_video, low=1, high=min(2, self.people))
        check.one_of("motion", self.motion, MOTIONS)
        for name, (low, high), most in (
            ("camera_height", self.camera_height, 2.4), ("camera_distance", self.camera_distance, 4.0),
        ):  # fmt: skip
            check.in_range(f"{name}[0]", low, low=0.5, high=most)
            check.in_range(f"{name}[1]", high, low=low, high=most)
        if not self.actions:
            raise UserError("actions must name at least one action.")
        for action in self.actions:
            check.one_of("actions", action, PERFORMED)


def cast(settings: SynthesizeConfig) -> tuple[Avatar, ...]:
    """The people of the sample data: outfits and hair are distributed evenly, the rest is random."""
    rng = np.random.default_rng([settings.seed, 2])
    outfits, hair = rng.permutation(sorted(OUTFITS)), rng.permutation(sorted(HAIRSTYLES))
    secret = f"sample data {settings.seed}".encode()
    return tuple(
        dataclasses.replace(
            draw_avatar(secret, f"person {person}"),
            outfit=str(outfits[person % len(outfits)]),
            hairstyle=str(hair[person % len(hair)]),
        )
        for person in range(settings.people)
    )


def manners(settings: SynthesizeConfig) -> tuple[Manner, ...]:
    """The manner of moving of each person of the sample data."""
    return tuple(
        draw_manner(np.random.default_rng([settings.seed, 6, person])) for person in range(settings.people)
    )
