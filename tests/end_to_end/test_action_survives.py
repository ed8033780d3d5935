"""Actions can be recognised in the outputs: a small version of `benchmark fidelity`, with a range.

A change to pictures that raised their PSNR once took a fifth of what actions are told by, and nobody noticed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.motion_energy import distances, motion_energy

from raymaskdp.anonymize import AnonymizeConfig, anonymize
from raymaskdp.demo import DemoConfig
from raymaskdp.synthetic.config import SynthesizeConfig
from raymaskdp.synthetic.synthesize import synthesize
from raymaskdp.video import reader


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], list[Path]]:
    """Sources of a person who performs all actions of the demo, and the outputs by default settings."""
    folder = tmp_path_factory.mktemp("actions")
    like = DemoConfig.load().private
    synthesize(
        folder / "sources",
        SynthesizeConfig(
            seed=like.seed, actions=like.actions, people=1, rooms=4, frames=like.frames, fps=like.fps
        ),
    )
    result = anonymize(folder / "sources", folder / "outputs", AnonymizeConfig(workers=0))
    assert result.done == len(result.rows) == len(like.actions)
    sources = sorted((folder / "sources" / "videos").glob("*.mp4"))
    return sources, [folder / "outputs" / source.name for source in sources]


def test_an_output_moves_as_its_source_does_and_no_other(videos: tuple[list[Path], list[Path]]) -> None:
    sources, outputs = (np.array([motion_energy(reader.stream(path)) for path in paths]) for paths in videos)
    own, matched = told(outputs, sources)
    assert own < 0.36
    assert matched >= 7


def test_a_flicker_around_people_is_noticed(videos: tuple[list[Path], list[Path]]) -> None:
    sources = np.array([motion_energy(reader.stream(path)) for path in videos[0]])
    own, _ = told(np.array([motion_energy(flickering(path)) for path in videos[1]]), sources)
    assert own > 0.45


def told(outputs_NF: np.ndarray, sources_NF: np.ndarray) -> tuple[float, int]:
    """How unlike outputs are to their own sources, on average, and how many are likest to these."""
    unlike_NN = distances(outputs_NF, sources_NF)
    return float(np.diag(unlike_NN).mean()), int((unlike_NN.argmin(1) == np.arange(len(unlike_NN))).sum())


def flickering(path: Path) -> list[np.ndarray]:
    """The frames of an output; in every third the floor below the knees is darker by a twelfth."""
    frames = [frame_HW3.copy() for frame_HW3 in reader.stream(path)]
    for frame_HW3 in frames[::3]:
        height, width = frame_HW3.shape[:2]
        floor = frame_HW3[round(0.7 * height) :, round(0.3 * width) : round(0.7 * width)]
        floor[:] = (floor * 0.92).astype(np.uint8)
    return frames
