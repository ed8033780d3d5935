"""White noise anchored to the body and to the room, so that it moves with them.

Space is divided into small cells: on a body by its rest pose, elsewhere by the frame's pixels. Every cell has
its own normal numbers, computed by hashing its position. A latent pixel sums the cells that it shows, scaled
to variance 1. Different latent pixels show different cells, so the noise is white, as a diffusion model
requires. (The idea is that of Chang et al. 2024, who integrate noise over warped pixels; here the surface is
known, so no warp is needed.)
"""

from __future__ import annotations

import numpy as np

# Shape suffixes: S rows and columns of a crop, h w of the latents, C channels, N cells seen, D coordinates.

FINENESS = 3
"""Number of cells along the side of a latent pixel."""


def anchored(cells_SSD: np.ndarray, *, seed: int, channels: int, shape: tuple[int, int]) -> np.ndarray:
    """Noise float32 [C, h, w] of a crop whose pixels show the cells `cells_SSD`, int64 [S, S, D].

    The same seed and cells give the same numbers in any frame.
    """
    side = len(cells_SSD)
    height, width = shape
    latent_S = np.arange(side) * np.array([[height], [width]]) // side
    latent_SS = latent_S[0][:, None] * width + latent_S[1]
    key_SS = _mixed(cells_SSD, seed)
    pairs = np.stack([latent_SS.ravel().astype(np.uint64), key_SS.ravel()], axis=1)
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    pairs = pairs[order]
    new = np.flatnonzero(np.concatenate([[True], (pairs[1:] != pairs[:-1]).any(axis=1)]))
    counts_N = np.diff(np.append(new, len(pairs))).astype(np.float64)
    latent_N, key_N = pairs[new, 0].astype(np.int64), pairs[new, 1]
    power = np.bincount(latent_N, counts_N**2, minlength=height * width)
    noise = [
        np.bincount(latent_N, counts_N * _normal(key_N, channel), minlength=height * width) / np.sqrt(power)
        for channel in range(channels)
    ]
    return np.array(noise, np.float32).reshape(channels, height, width)


def _mixed(cells_SSD: np.ndarray, seed: int) -> np.ndarray:
    """One 64-bit number for each cell."""
    # The seed is scrambled first, because otherwise adjacent seeds would only permute a few cells.
    mixed = np.broadcast_to(_scramble(np.array([seed % 2**64], np.uint64)), cells_SSD.shape[:-1])
    for axis in range(cells_SSD.shape[-1]):
        mixed = _scramble(mixed ^ cells_SSD[..., axis].astype(np.uint64))
    return mixed


def _normal(key_N: np.ndarray, channel: int) -> np.ndarray:
    """A standard normal number for each key (Box and Muller 1958)."""
    first = _scramble(key_N ^ np.uint64(2 * channel + 1))
    second = _scramble(first)
    unit = 2.0**-53
    radius = np.sqrt(-2 * np.log(((first >> np.uint64(11)).astype(np.float64) + 0.5) * unit))
    return radius * np.cos(2 * np.pi * unit * (second >> np.uint64(11)).astype(np.float64))


def _scramble(number: np.ndarray) -> np.ndarray:
    """The finalizer of SplitMix64 (Steele, Lea and Flood 2014)."""
    number = number + np.uint64(0x9E3779B97F4A7C15)
    number = (number ^ (number >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    number = (number ^ (number >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return number ^ (number >> np.uint64(31))
