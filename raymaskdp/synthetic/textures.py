"""Textures of rooms: wood, cloth, books, pictures, walls and a view outdoors."""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import numpy as np

# Shape suffixes: N rays or points, H rows, W columns.

Texture = Callable[[np.ndarray], np.ndarray]
"""Points on a surface, [N, 2] metres, to linear RGB [N, 3]."""


def from_hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    """Linear RGB [3] of a colour by hue, saturation and value, each in [0, 1]."""
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value)) ** 2.2


def _hash(cells: np.ndarray, seed: int) -> np.ndarray:
    """A number in [0, 1) for every integer cell [N, D]; the same on every machine."""
    value = np.full(len(cells), seed, dtype=np.uint64)
    for column in cells.astype(np.int64).T:
        value = (value ^ column.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        value ^= value >> np.uint64(29)
    return (value >> np.uint64(40)).astype(np.float64) / 2**24


def _noise(points_N2: np.ndarray, size: float, seed: int) -> np.ndarray:
    """Smooth noise in [0, 1] with grains of `size` metres."""
    cells = points_N2 / size
    base = np.floor(cells)
    part = cells - base
    part = part * part * (3 - 2 * part)
    corner = {(i, j): _hash(base + np.array([i, j]), seed) for i in (0, 1) for j in (0, 1)}
    near = corner[0, 0] * (1 - part[:, 0]) + corner[1, 0] * part[:, 0]
    far = corner[0, 1] * (1 - part[:, 0]) + corner[1, 1] * part[:, 0]
    return near * (1 - part[:, 1]) + far * part[:, 1]


def plain(color: np.ndarray) -> Texture:
    """One colour."""
    return lambda points_N2: np.broadcast_to(color, (len(points_N2), 3))


def speckled(rng: np.random.Generator, color: np.ndarray) -> Texture:
    """A colour with specks."""
    seed = int(rng.integers(2**31))

    def texture(points_N2: np.ndarray) -> np.ndarray:
        tone = 0.7 + 0.4 * _noise(points_N2, 0.05, seed) + 0.25 * _noise(points_N2, 0.4, seed + 1)
        return color * tone[:, None]

    return texture


def wooden(rng: np.random.Generator) -> Texture:
    """Boards with grain."""
    seed = int(rng.integers(2**31))
    color = from_hsv(rng.uniform(0.06, 0.1), rng.uniform(0.35, 0.65), rng.uniform(0.35, 0.75))

    def texture(points_N2: np.ndarray) -> np.ndarray:
        grain = _noise(points_N2 * [1.0, 0.12], 0.03, seed) + _noise(points_N2 * [1.0, 0.2], 0.15, seed + 1)
        return color * (0.65 + 0.35 * grain)[:, None]

    return texture


def woven(rng: np.random.Generator) -> Texture:
    """Cloth with a weave."""
    seed = int(rng.integers(2**31))
    color = from_hsv(rng.random(), rng.uniform(0.2, 0.6), rng.uniform(0.3, 0.7))
    other = from_hsv(rng.random(), rng.uniform(0.2, 0.6), rng.uniform(0.3, 0.7))
    stripe = rng.uniform(0.05, 0.2)

    def texture(points_N2: np.ndarray) -> np.ndarray:
        share = (np.sin(points_N2[:, 0] * np.pi / stripe) > 0.6)[:, None]
        return np.where(share, other, color) * (0.8 + 0.3 * _noise(points_N2, 0.03, seed))[:, None]

    return texture


def shelved(rng: np.random.Generator) -> Texture:
    """Spines of books on shelves."""
    seed = int(rng.integers(2**31))

    def texture(points_N2: np.ndarray) -> np.ndarray:
        book = np.floor(points_N2[:, :1] / 0.045 + 0.3 * np.sin(points_N2[:, :1] * 40))
        channels = [_hash(book, seed + channel) for channel in range(3)]
        return 0.05 + 0.5 * np.stack(channels, axis=1) ** 1.5

    return texture


def painted(rng: np.random.Generator, low: float, high: float) -> Texture:
    """A painted landscape between two heights, in muted colours.

    Networks for people mistake bright shapes on a wall for people; they do not mistake hills and sky.
    """
    seed = int(rng.integers(2**31))
    hue, layers = rng.random(), int(rng.integers(3, 6))
    bands = np.stack(
        [
            from_hsv(hue + rng.uniform(-0.12, 0.12), rng.uniform(0.1, 0.35), v)
            for v in np.linspace(0.35, 0.8, layers)
        ]
    )

    def texture(points_N2: np.ndarray) -> np.ndarray:
        height = (points_N2[:, 1] - low) / (high - low)
        level = np.zeros(len(points_N2), dtype=int)
        for layer in range(1, layers):
            ridge = layer / layers + 0.22 * (_noise(points_N2 * [1.0, 0.0], 0.13, seed + layer) - 0.5)
            level = np.where(height > ridge, layer, level)
        return bands[level] * (0.85 + 0.3 * _noise(points_N2, 0.02, seed))[:, None]

    return texture


def outdoors(rng: np.random.Generator, x: float) -> Texture:
    """The view from a window: sky, hills and trees."""
    seed = int(rng.integers(2**31))

    def texture(points_N2: np.ndarray) -> np.ndarray:
        height = (points_N2[:, 1] - 0.9) / 1.3
        trees = height < 0.25 + 0.45 * _noise(points_N2 * [1.0, 0.0], 0.25, seed)
        sky = np.array([0.75, 0.85, 1.0]) - 0.25 * height[:, None] * [1.0, 0.6, 0.1]
        leaves = np.array([0.18, 0.3, 0.12]) * (0.6 + _noise(points_N2, 0.06, seed + 1))[:, None]
        frame = np.abs(points_N2[:, 0] - x) < 0.025
        color = np.where(trees[:, None], leaves, sky)
        return np.where(frame[:, None], 0.75, color)

    return texture


def floored(rng: np.random.Generator) -> Texture:
    """A floor of boards, tiles or carpet."""
    seed = int(rng.integers(2**31))
    kind = rng.choice(["planks", "tiles", "carpet", "lino"])
    color = from_hsv(rng.uniform(0.05, 0.12), rng.uniform(0.2, 0.6), rng.uniform(0.4, 0.75))
    second = from_hsv(rng.random(), rng.uniform(0.1, 0.5), rng.uniform(0.3, 0.8))

    def texture(points_N2: np.ndarray) -> np.ndarray:
        fine = 0.85 + 0.3 * _noise(points_N2, 0.02, seed + 7)
        if kind == "planks":
            row = np.floor(points_N2[:, :1] / 0.14)
            cell = np.concatenate([row, np.floor(points_N2[:, 1:] / 1.1 + _hash(row, seed)[:, None])], axis=1)
            tone = 0.7 + 0.5 * _hash(cell, seed + 1)
            grain = 0.8 + 0.4 * _noise(points_N2 * [1.0, 0.1], 0.02, seed + 2)
            gap = (points_N2[:, 0] / 0.14) % 1 < 0.05
            return color * (tone * grain * np.where(gap, 0.45, 1))[:, None]
        if kind == "tiles":
            cell = np.floor(points_N2 / 0.33)
            checks = (cell.sum(axis=1) % 2 == 0)[:, None]
            joint = ((points_N2 / 0.33) % 1 < 0.04).any(axis=1)
            return np.where(checks, color, second) * (fine * np.where(joint, 0.6, 1))[:, None]
        if kind == "carpet":
            pattern = 0.8 + 0.4 * _noise(points_N2, 0.015, seed) * _noise(points_N2, 0.3, seed + 1) * 2
            border = np.abs(points_N2).max(axis=1) > 1.6
            return np.where(border[:, None], color, second) * pattern[:, None]
        return second * (fine * (0.8 + 0.4 * _noise(points_N2, 0.5, seed + 3)))[:, None]

    return texture


def walled(rng: np.random.Generator, color: np.ndarray, trim: np.ndarray) -> Texture:
    """A wall of plaster, paper or bricks with a trim."""
    seed = int(rng.integers(2**31))
    kind = rng.choice(["paint", "stripes", "bricks", "panels", "dots"])

    def texture(points_N2: np.ndarray) -> np.ndarray:
        tone = 0.88 + 0.12 * _noise(points_N2, 0.6, seed) + 0.08 * _noise(points_N2, 0.03, seed + 1)
        if kind == "stripes":
            second = (points_N2[:, 0] / 0.22) % 1 < 0.5
            tone = tone * np.where(second, 1.0, 0.78)
        elif kind == "bricks":
            row = np.floor(points_N2[:, 1:] / 0.1)
            along = points_N2[:, :1] / 0.24 + 0.5 * (row % 2)
            tone = tone * (0.75 + 0.4 * _hash(np.concatenate([row, np.floor(along)], axis=1), seed + 2))
            joint = ((points_N2[:, 1] / 0.1) % 1 < 0.12) | (along[:, 0] % 1 < 0.05)
            return np.where(joint[:, None], 0.5, color * [1.0, 0.8, 0.72]) * tone[:, None]
        elif kind == "panels":
            lower = points_N2[:, 1] < 0.95
            groove = lower & ((points_N2[:, 0] / 0.18) % 1 < 0.06)
            tone = tone * np.where(groove, 0.6, 1)
            return np.where(lower[:, None], trim, color) * tone[:, None]
        elif kind == "dots":
            spots = np.linalg.norm((points_N2 / 0.2) % 1 - 0.5, axis=1) < 0.18
            return np.where(spots[:, None], 0.5 * color + 0.5 * trim, color) * tone[:, None]
        return color * tone[:, None]

    return texture
