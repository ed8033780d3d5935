"""Cost of refining: seconds and memory of a batch, by size, and with or without ways to save memory.

`raymaskdp benchmark refine-cost`. Networks are random, which cost as much as trained ones, with the real
number of channels times `share`. Every case runs in a separate process, alternating with the others.
"""

from __future__ import annotations

import dataclasses
import itertools
import platform
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raymaskdp.benchmarks.paired import Measurement, measure
from raymaskdp.benchmarks.settings.avatars import RefineCostConfig

# Shape suffixes: F frames, S rows and columns of a picture, h w of the latents.

BACKENDS = ("sd15-depth", "sdxl-depth")

"""As the refiner works; attention head by head; residual blocks compiled; images encoded and decoded as a
whole and not in tiles; and without keys and values of other frames."""


@dataclass(frozen=True, kw_only=True)
class RefineCostRow:
    """One case: median seconds a frame, its share of the first way's time in the same rounds, peak memory.

    Attributes:
      refused: why it was impossible; then the figures are NaN.
    """

    backend: str
    side: int
    batch: int
    way: str
    seconds: float
    ratio: float
    peak_mib: float
    refused: str | None


@dataclass(frozen=True, kw_only=True)
class RefineCostResult:
    """All rows, and the machine."""

    machine: str
    rows: tuple[RefineCostRow, ...]

    def __str__(self) -> str:
        lines = [
            self.machine,
            "",
            "| networks | side | frames at once | | s a frame | of the first | MiB |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        for row in self.rows:
            figures = f"{row.seconds:.2f} | {row.ratio:.2f} | {row.peak_mib:.0f}"
            lines.append(
                f"| {row.backend} | {row.side} | {row.batch} | {row.way} | {row.refused or figures} |"
            )
        return "\n".join(lines)


def benchmark_refine_cost(settings: RefineCostConfig) -> RefineCostResult:
    """Refine random images with random networks in every way."""
    from raymaskdp.benchmarks.diffusion import tiny_diffusion

    rows: list[RefineCostRow] = []
    with tempfile.TemporaryDirectory() as folder:
        for backend in settings.backends:
            make = {"sd15-depth": tiny_diffusion.sd15, "sdxl-depth": tiny_diffusion.sdxl}[backend]
            named = make(Path(folder) / backend, tiny_diffusion.REAL[backend].narrowed(settings.share))
            for side, batch in itertools.product(settings.sides, settings.batches):
                spec = {"named": named, "side": side, "batch": batch, "steps": settings.steps}
                measured = measure(
                    f"{__name__}:make",
                    {way: {**spec, "way": way, "device": settings.device} for way in settings.ways},
                    rounds=settings.rounds,
                    warmup=1,
                    threads=settings.threads,
                    title=f"{backend}, {side} pixels, {batch} at once",
                )
                first = measured[settings.ways[0]]
                rows += [_row(backend, side, batch, way, one, first) for way, one in measured.items()]
    machine = (
        f"{platform.processor() or platform.machine()}, {settings.device}; {settings.share:g} of "
        f"the real channels, {settings.steps} steps, median of {settings.rounds}"
    )
    return RefineCostResult(machine=machine, rows=tuple(rows))


def _row(
    backend: str, side: int, batch: int, way: str, one: Measurement, first: Measurement
) -> RefineCostRow:
    return RefineCostRow(
        backend=backend,
        side=side,
        batch=batch,
        way=way,
        seconds=one.median_seconds() / batch,
        ratio=one.ratio_to(first),
        peak_mib=float("nan") if one.refused else one.peak_bytes / 2**20,
        refused=one.refused,
    )


def make(spec: Mapping[str, Any]) -> Callable[[], np.ndarray]:
    """One batch of a track, refined at each call; `measure` creates it in the case's own process."""
    import torch
    from diffusers.models.attention_processor import SlicedAttnProcessor
    from diffusers.models.resnet import ResnetBlock2D

    from raymaskdp.anonymize.compose.diffusion.backends import ImageBackend, load_backend
    from raymaskdp.anonymize.compose.diffusion.cross_frame_attention import Memory
    from raymaskdp.anonymize.compose.diffusion.settings import DiffusionConfig

    config = DiffusionConfig(
        **spec["named"], side=spec["side"], steps=spec["steps"], strength=1.0, guidance=1.0
    )
    backend = load_backend(config, torch.device(spec["device"]))
    assert isinstance(backend, ImageBackend)
    networks = (backend.pipe.unet, backend.pipe.controlnet)
    if spec["way"] == "attention in slices":
        for network in networks:
            network.set_attn_processor(SlicedAttnProcessor(slice_size=1))
    elif spec["way"] == "compiled":
        for block in [part for net in networks for part in net.modules() if isinstance(part, ResnetBlock2D)]:
            block.compile()
    elif spec["way"] == "pictures whole":
        backend.pipe.vae.disable_tiling()
        backend.pipe.vae.disable_slicing()
    given = _takes(backend.latents(spec["side"]), spec["batch"], spec["side"])
    shares = spec["way"] not in (
        "nothing shared",
        "attention in slices",
    )  # sliced attention has no other frames

    def step() -> np.ndarray:
        return backend(dataclasses.replace(given, memory=Memory() if shares else None))

    return step


def _takes(latents: tuple[int, int, int], frames: int, side: int) -> Any:
    """Random images with a person in the middle."""
    from raymaskdp.anonymize.compose.diffusion.backends import Takes

    rng = np.random.default_rng(0)
    channels, height, width = latents
    masks_FSS = np.zeros((frames, side, side), bool)
    masks_FSS[:, side // 8 : -side // 8, side // 3 : -side // 3] = True
    return Takes(
        pictures_FSS3=rng.integers(0, 255, (frames, side, side, 3), np.uint8),
        nearness_FSS=0.7 * masks_FSS.astype(np.float32),
        masks_FSS=masks_FSS,
        noise_FChw=rng.standard_normal((frames, channels, height, width), np.float32),
        links_Fhw2=np.zeros((frames, height, width, 2), np.float32),
        known_Fhw=np.ones((frames, height, width), np.float32),
        prompt="photo of a person",
        seed=1,
        memory=None,
    )
