"""The settings of the sample data, and the people in it."""

from __future__ import annotations

import dataclasses

import numpy as np

from raymaskdp.bodies.avatar import Avatar, draw_avatar
from raymaskdp.bodies.clothes.hair import HAIRSTYLES
from raymaskdp.bodies.clothes.wardrobe import OUTFITS
from raymaskdp.synthetic.config import SynthesizeConfig
from raymaskdp.synthetic.poses import Manner, draw_manner

# Shape suffixes: P people in a video, T frames, V vertices, J = 52 joints, H rows, W columns.


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
