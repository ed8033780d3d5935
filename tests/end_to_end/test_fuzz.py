"""Two thousand damaged videos, manifests and configurations: each gets a verdict in one sentence."""

import contextlib
import io
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from raymaskdp import config
from raymaskdp.anonymize import AnonymizeConfig
from raymaskdp.datasets.manifest import read_source
from raymaskdp.errors import UserError
from raymaskdp.sweep import SweepConfig
from raymaskdp.train import TrainConfig
from raymaskdp.video import reader, sandbox
from raymaskdp.video.sandbox import DecodeLimits
from raymaskdp.video.writer import VideoWriter

VIDEOS, MANIFESTS, CONFIGURATIONS = 1000, 500, 500


def verdict(work: Callable[[], object]) -> str:
    """ "fine", or "refused" with one short sentence; anything else that is raised fails the test."""
    try:
        work()
    except UserError as error:
        text = str(error)
        assert text.strip(), "a refusal without a word"
        assert "\n" not in text
        assert len(text) < 600
        return "refused"
    return "fine"


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Bytes flipped, cut out, doubled, overwritten by zeros or noise, or the end missing."""
    data = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        if not data:
            break
        at = draw.randrange(len(data))
        length = min(draw.choice([1, 4, 32, 500, 5000]), len(data) - at)
        match draw.randrange(6):
            case 0:
                for place in range(at, at + length):
                    data[place] ^= 1 << draw.randrange(8)
            case 1:
                del data[at : at + length]
            case 2:
                data[at:at] = data[at : at + length]
            case 3:
                data[at : at + length] = bytes(length)
            case 4:
                data[at : at + length] = draw.randbytes(length)
            case 5:
                del data[at:]
    return bytes(data)


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Small videos as MP4, and one as AVI."""
    folder = tmp_path_factory.mktemp("originals")
    frames = np.random.default_rng(0).integers(0, 255, (6, 48, 64, 3), np.uint8)
    for name, lossless in (("a.mp4", False), ("b.mp4", True)):
        with VideoWriter(folder / name, width=64, height=48, fps=12, lossless=lossless) as writer:
            for frame in frames:
                writer.write(frame)
    return [path.read_bytes() for path in sorted(folder.iterdir())]


def decode(path: Path) -> None:
    info = sandbox.probe(path, DecodeLimits(seconds=20))
    count = 0
    with contextlib.closing(reader.stream(path)) as frames:
        for frame_HW3 in frames:
            assert frame_HW3.shape == (info.height, info.width, 3)
            count += 1
    assert count == info.num_frames


@pytest.mark.slow
def test_damaged_videos(originals: list[bytes], tmp_path: Path) -> None:
    draw = random.Random(1)
    path = tmp_path / "damaged.mp4"
    verdicts: Counter[str] = Counter()
    for _ in range(VIDEOS):
        path.write_bytes(damaged(draw.choice(originals), draw))
        verdicts[verdict(lambda: decode(path))] += 1
    assert verdicts.total() == VIDEOS
    assert verdicts["refused"] > VIDEOS / 10  # most of the damage is real


@pytest.mark.slow
def test_damaged_manifests(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {
            "path": ["a.mp4", "b.mp4", "ü.mp4"],
            "video_id": ["a", "b", "c"],
            "label": ["walk", "sit", None],
            "split": ["train", "test", "train"],
            "subject": ["1", "2", "3"],
        }
    )
    text, binary = io.StringIO(), io.BytesIO()
    table.to_csv(text, index=False)
    table.to_parquet(binary, index=False)
    kinds = {"m.csv": text.getvalue().encode(), "m.parquet": binary.getvalue()}
    draw = random.Random(2)
    verdicts: Counter[str] = Counter()
    for number in range(MANIFESTS):
        name = list(kinds)[number % 2]
        (tmp_path / name).write_bytes(damaged(kinds[name], draw))
        verdicts[verdict(lambda name=name: read_source(tmp_path / name))] += 1  # type: ignore[misc]
    assert verdicts.total() == MANIFESTS
    assert verdicts["refused"] > MANIFESTS / 10


def mutated(values: object, draw: random.Random) -> object:
    """Plain values with one leaf, key or group changed to something else."""
    odd = [
        None,
        -1,
        0,
        1e308,
        "",
        "x" * 300,
        "../../etc",
        [],
        {},
        [1, [2]],
        True,
        "nan",
        float("nan"),
        "1e-5",
    ]
    if isinstance(values, dict) and values and draw.random() < 0.85:
        key = draw.choice(list(values))
        if draw.random() < 0.15:
            return {**values, f"{key}x": values[key]}
        return {**values, key: mutated(values[key], draw)}
    return draw.choice(odd)


@pytest.mark.slow
def test_mutated_configurations(tmp_path: Path) -> None:
    given: dict[type, dict] = {
        AnonymizeConfig: config.to_dict(AnonymizeConfig()),
        TrainConfig: {"data": "d", "privacy": {"epsilon": 2.0, "clips": 2}, "steps": 10},
        SweepConfig: {
            "train": {"data": "d", "privacy": {"epsilon": 2.0}},
            "grids": {"g": {"privacy.epsilon": [1, 2]}},
        },
    }
    draw = random.Random(3)
    path = tmp_path / "settings.yaml"
    verdicts: Counter[str] = Counter()
    for number in range(CONFIGURATIONS):
        kind = list(given)[number % len(given)]
        path.write_text(yaml.safe_dump(mutated(given[kind], draw)))
        if draw.random() < 0.3:
            path.write_bytes(damaged(path.read_bytes(), draw))
        verdicts[verdict(lambda kind=kind: config.load(kind, path))] += 1  # type: ignore[misc]
    assert verdicts.total() == CONFIGURATIONS
    assert verdicts["refused"] > CONFIGURATIONS / 4
