"""The choices that define a guarantee: mechanism, adjacency, unit and clipping."""

from __future__ import annotations

from typing import Literal, get_args

Mechanism = Literal["sgd", "dpsgd", "multiclip", "maskdp", "maskdp-full"]
Adjacency = Literal["zero-out", "add-remove", "replace"]
Unit = Literal["video", "subject"]
ClippingName = Literal["flat", "automatic", "per-layer", "adaptive"]

MECHANISMS: tuple[Mechanism, ...] = get_args(Mechanism)
ADJACENCIES: tuple[Adjacency, ...] = get_args(Adjacency)
MASKED: tuple[Mechanism, ...] = ("maskdp", "maskdp-full")
