"""Blend the networks' changes into the frame: fully inside avatars, fading out in a narrow seam."""

from __future__ import annotations

import numpy as np

from raymaskdp.anonymize.compose.diffusion.person_crops import PersonTake, PersonTrack
from raymaskdp.anonymize.compose.refiner import Refined, Shot
from raymaskdp.video import masks

# Shape suffixes: H rows and W columns of the frame, S those of a crop.


def blended(
    shot: Shot,
    plain: Refined,
    people: list[tuple[PersonTake, np.ndarray]],
    seam_px: int,
) -> Refined:
    """The layers with the changes, at full resolution: fully inside avatars, fading out outside."""
    height, width = shot.drawn.mask_HW.shape
    avatar_HW3, backdrop_HW3 = plain.avatar_HW3.copy(), plain.backdrop_HW3.copy()
    shaded_HW = plain.shaded_HW.copy()
    for take, change_SS3 in people:
        box = take.crop.inside(height, width)
        own = take.crop.paste(take.mask_SS.astype(np.float32), height, width) > 0.5
        change = take.crop.paste(change_SS3, height, width)
        inside = own & shot.drawn.mask_HW[box]
        made = levels(plain.avatar_HW3[box] + change)
        avatar_HW3[box][inside] = made[inside]
        if seam_px and inside.any():
            distance = masks.distance(inside)
            ramp = np.clip(1 - distance / (seam_px + 1), 0, 1)
            rim = (distance <= seam_px) & ~shot.drawn.mask_HW[box]
            under = plain.backdrop_HW3[box]
            seam = levels(under + ramp[..., None] * change)
            backdrop_HW3[box][rim] = seam[rim]
            shaded_HW[box] |= rim
    return Refined(backdrop_HW3=backdrop_HW3, avatar_HW3=avatar_HW3, shaded_HW=shaded_HW)


def temporally_blended(
    track: PersonTrack, take: PersonTake, change_SS3: np.ndarray, share: float
) -> np.ndarray:
    """The change; points visible in the previous frame, too, keep `share` of its change."""
    if take.back is None or track.change_SS3 is None:
        return change_SS3
    before_SS3 = take.back.warp(track.change_SS3)
    weight_SS1 = share * take.back.known_SS[..., None].astype(np.float32)
    return change_SS3 + weight_SS1 * (before_SS3 - change_SS3)


def levels(picture: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(picture, 0, 255)).astype(np.uint8)
