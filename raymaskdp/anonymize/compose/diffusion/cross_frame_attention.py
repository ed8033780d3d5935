"""Cross-frame attention: frames of one person share latents, keys and values during denoising.

`Memory` belongs to a track. For each step it stores the last frame's latents, and the tokens of every
self-attention layer in the first frame and in the last. So the result is independent of the batch size.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from diffusers.models.attention_processor import AttnProcessor2_0
from torch import Tensor
from torch.nn import functional

# Shape suffixes: F frames of a batch, G halves of guidance (without and with a prompt), N tokens, C channels,
# h w rows and columns of the latents, S those of a picture.

SHARE = 0.5
"""Share of a latent that comes from the previous frame, where the same surface point is visible in both."""

Place = tuple[str, int]
"""A layer, and a step of the schedule."""


@dataclass(kw_only=True, eq=False)
class Memory:
    """Data of a track's earlier frames. Initially empty.

    Attributes:
      first_GNC, last_GNC: tokens of the layers in the first frame and in the last.
      latents_Chw: of the last frame, after each step.
      picture_SS3: uint8, the first frame before it was refined; only video networks use it.
    """

    first_GNC: dict[Place, Tensor] = field(default_factory=dict)
    last_GNC: dict[Place, Tensor] = field(default_factory=dict)
    latents_Chw: dict[int, Tensor] = field(default_factory=dict)
    picture_SS3: np.ndarray | None = None

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name, for a file."""
        named = {f"latents.{step}": latents for step, latents in self.latents_Chw.items()}
        for part, seen in (("first", self.first_GNC), ("last", self.last_GNC)):
            named |= {f"{part}.{step}.{layer}": tokens for (layer, step), tokens in seen.items()}
        if self.picture_SS3 is not None:
            named["picture"] = torch.from_numpy(self.picture_SS3)
        return named

    @classmethod
    def of(cls, named: Mapping[str, Tensor], device: torch.device) -> Memory:
        """The memory with these `tensors`, for networks on a device."""
        memory = cls()
        for name, tensor in named.items():
            part, _, rest = name.partition(".")
            step, _, layer = rest.partition(".")
            if part == "picture":
                memory.picture_SS3 = tensor.numpy()
            elif part == "latents":
                memory.latents_Chw[int(step)] = tensor.to(device)
            else:
                tokens_of = memory.first_GNC if part == "first" else memory.last_GNC
                tokens_of[layer, int(step)] = tensor.to(device)
        return memory

    def saved(self) -> Memory:
        """A copy for the case that the next batch fails."""
        return Memory(
            first_GNC=copy.copy(self.first_GNC),
            last_GNC=copy.copy(self.last_GNC),
            latents_Chw=copy.copy(self.latents_Chw),
            picture_SS3=self.picture_SS3,
        )


class CrossFrameAttention:
    """Self-attention of a U-Net, extended by the tokens of the track's first frame and of the previous one.

    (Keys of other frames: Wu et al. 2023, Tune-A-Video; here only frames before, none after.)
    """

    def __init__(self, unet: Any) -> None:
        self._memory: Memory | None = None
        self._frames = 1
        self._step: dict[str, int] = {}
        unet.set_attn_processor(
            {
                name: _Shared(name, self) if name.endswith("attn1.processor") else processor
                for name, processor in unet.attn_processors.items()
            }
        )

    def begin(self, memory: Memory | None, frames: int) -> None:
        """The next batch has `frames` frames of the track with this memory; None to share nothing."""
        self._memory, self._frames, self._step = memory, frames, {}

    def context(self, name: str, tokens_BNC: Tensor) -> Tensor | None:
        """The context [G·F, 3N, C] for the tokens [G·F, N, C] of a layer; None for the tokens alone."""
        if self._memory is None:
            return None
        place = name, self._step.get(name, 0)
        self._step[name] = place[1] + 1
        tokens = tokens_BNC.unflatten(0, (-1, self._frames))
        first = self._memory.first_GNC.setdefault(place, tokens[:, 0].clone())
        before = self._memory.last_GNC.get(place, tokens[:, 0])
        self._memory.last_GNC[place] = tokens[:, -1].clone()
        previous = torch.cat([before[:, None], tokens[:, :-1]], dim=1)
        return torch.cat([tokens, previous, first[:, None].expand_as(tokens)], dim=2).flatten(0, 1)


class _Shared:
    """The library's attention, with an extended context."""

    def __init__(self, name: str, sharing: CrossFrameAttention) -> None:
        self._name = name
        self._sharing = sharing
        self._attend = AttnProcessor2_0()

    def __call__(self, attn: Any, hidden_states: Tensor, *arguments: Any, **options: Any) -> Tensor:
        context = self._sharing.context(self._name, hidden_states)
        return self._attend(attn, hidden_states, context)


def with_previous_latents(
    latents_FChw: Tensor, step: int, memory: Memory, links_Fhw2: Tensor, known_Fhw: Tensor
) -> Tensor:
    """Latents blended with those of the previous frame, each warped along the body; the last one is stored.

    Args:
      latents_FChw: of the frames of a batch, after `step`.
      links_Fhw2: position of each latent in the previous frame, in [-1, 1] of its crop (columns, rows).
      known_Fhw: 1 where that is known, else 0.
    """
    before = memory.latents_Chw.get(step)
    frames = []
    for latents, links, known in zip(latents_FChw, links_Fhw2, known_Fhw, strict=True):
        if before is not None:
            # The nearest one, because interpolation would reduce the variance of the remaining noise.
            warped = functional.grid_sample(
                before[None].float(), links[None].float(), mode="nearest", align_corners=False
            )[0].to(latents.dtype)
            latents = latents + SHARE * known.to(latents.dtype) * (warped - latents)
        frames.append(latents)
        before = latents
    assert before is not None
    memory.latents_Chw[step] = before.clone()
    return torch.stack(frames)
