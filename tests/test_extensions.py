"""Parts of an installed package: one real package on disk, with an entry point of each kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from raymaskdp.anonymize import AnonymizeConfig, anonymize
from raymaskdp.anonymize.background.config import PlateConfig
from raymaskdp.anonymize.background.inpaint import FILLS, fill
from raymaskdp.anonymize.compose.config import CompositeConfig
from raymaskdp.anonymize.compose.refiners import REFINERS
from raymaskdp.anonymize.people.config import PoseConfig
from raymaskdp.anonymize.people.sources import SOURCES, pose_source
from raymaskdp.benchmarks.anonymize import write_poses
from raymaskdp.config import build
from raymaskdp.datasets.importing import list_datasets
from raymaskdp.datasets.registry import DATASETS
from raymaskdp.errors import UserError
from raymaskdp.extensions import Registry
from raymaskdp.models import ModelConfig, build_model
from raymaskdp.models.registry import MODELS
from raymaskdp.synthetic.synthesize import SynthesizeConfig, synthesize
from raymaskdp.video.masks import unpack
from raymaskdp.video.reader import stream

KINDS: dict[str, Registry] = {
    "datasets": DATASETS,
    "pose_sources": SOURCES,
    "fills": FILLS,
    "refiners": REFINERS,
    "models": MODELS,
}

PACKAGE = """
from dataclasses import dataclass
import numpy as np
from torch import nn

from raymaskdp.anonymize.compose.refiner import FrameRefiner, Refined, RefinerKind
from raymaskdp.anonymize.people.sources import smpl
from raymaskdp.anonymize.people.sources.skeletons import FromFiles
from raymaskdp.datasets import folders
from raymaskdp.datasets.registry import Dataset
from raymaskdp.models import ModelEntry

DATASET = Dataset(about="ours", options=folders.FoldersOptions, read=folders.read)

def pose_source(config):
    return FromFiles(config, smpl.read)

def fill(color_HW3, unknown_HW):
    return np.full_like(color_HW3, 77)

class Green(FrameRefiner):
    def __call__(self, emptied_HW3, drawn, index):
        return Refined(
            backdrop_HW3=emptied_HW3,
            avatar_HW3=drawn.mask_HW[..., None] * np.uint8((0, 200, 0)),
            shaded_HW=np.zeros(drawn.mask_HW.shape, bool),
        )

REFINER = RefinerKind(load=lambda settings: lambda cast: Green())

@dataclass(frozen=True, kw_only=True)
class Options:
    width: int = 3

class Mean(nn.Module):
    def __init__(self, options, *, clip, num_classes):
        super().__init__()
        self.head = nn.Linear(options.width, num_classes)

    def features(self, clips_BCTHW):
        return clips_BCTHW.mean((2, 3, 4))

    def forward(self, clips_BCTHW):
        return self.head(self.features(clips_BCTHW))

MODEL = ModelEntry(Options, Mean)
"""
ENTRY_POINTS = """
[raymaskdp.datasets]
ours = our_parts:DATASET
ucf101 = our_parts:DATASET
[raymaskdp.pose_sources]
ours = our_parts:pose_source
[raymaskdp.fills]
ours = our_parts:fill
[raymaskdp.refiners]
ours = our_parts:REFINER
[raymaskdp.models]
ours = our_parts:MODEL
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of metadata as pip leaves it, on the path; its entry points may be changed."""
    about = tmp_path / "site" / "our_parts-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: our-parts\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(ENTRY_POINTS)
    (tmp_path / "site" / "our_parts.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return about / "entry_points.txt"


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_is_there_as_long_as_its_package_is(installed: Path, kind: str) -> None:
    parts = KINDS[kind]
    assert parts.group == f"raymaskdp.{kind}"
    assert parts.names() == (*parts.built_in, "ours")
    assert "ours" in parts
    parts.check("the setting", "ours")
    assert parts["ours"] is not None
    installed.write_text("")
    assert "ours" not in parts
    with pytest.raises(UserError, match=r"the setting must be one of .*, but it is 'ours'"):
        parts.check("the setting", "ours")
    with pytest.raises(UserError, match="not the name of one entry point of the group"):
        parts["ours"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_entry_point_of_another_kind_is_named(installed: Path, kind: str) -> None:
    installed.write_text(f"[raymaskdp.{kind}]\nours = math:pi\n")
    with pytest.raises(UserError, match=rf"'ours' of the group 'raymaskdp\.{kind}' is not a .*: math:pi\."):
        KINDS[kind]["ours"]


def test_the_names_of_built_in_parts_cannot_be_taken(installed: Path) -> None:
    assert DATASETS.names().count("ucf101") == 1
    assert DATASETS["ucf101"] is DATASETS.built_in["ucf101"]
    assert list_datasets().datasets["ours"]["about"] == "ours"


def test_a_model_is_built_by_name(installed: Path) -> None:
    model = build_model(
        build(ModelConfig, {"name": "ours"}, where="x"), clip=(2, 8, 8), num_classes=5, seed=0
    )
    assert model(torch.zeros(4, 3, 2, 8, 8)).shape == (4, 5)


def test_a_fill_makes_up_what_is_unknown(installed: Path) -> None:
    unknown_HW = np.zeros((8, 8), bool)
    unknown_HW[2:4] = True
    filled_HW3 = fill(np.zeros((8, 8, 3), np.uint8), unknown_HW, "ours")
    assert (filled_HW3[unknown_HW] == 77).all()
    assert not filled_HW3[~unknown_HW].any()
    with pytest.raises(
        UserError, match=r"plate\.fill .* rows, .*, ours, or the path .*'theirs'; installed packages"
    ):
        PlateConfig(fill="theirs")


@pytest.mark.slow
def test_a_run_takes_people_fill_and_refiner_from_a_package(installed: Path, tmp_path: Path) -> None:
    made = SynthesizeConfig(
        seed=5, people=1, actions=("wave",), rooms=1, cameras=1, frames=8, width=320, height=240
    )
    synthesize(tmp_path / "sample", made)
    (truth,) = (tmp_path / "sample" / "truth").glob("*.npz")
    write_poses(truth, tmp_path / "poses" / truth.name)
    config = AnonymizeConfig(
        workers=0,
        pose=PoseConfig(source="ours", skeletons=tmp_path / "poses", veto=False),
        plate=PlateConfig(fill="ours"),
        composite=CompositeConfig(refine="ours"),
    )
    assert pose_source(config.pose) is not None
    (row,) = anonymize(tmp_path / "sample", tmp_path / "out", config, progress=False).rows
    assert (row.status, row.reason) == ("done", "")
    with np.load(tmp_path / "out" / f"{row.video_id}.npz") as arrays:
        drawn_THW = unpack(arrays["avatar_masks"], 240, 320)
    frames_THW3 = np.stack(list(stream(tmp_path / "out" / row.path))).astype(int)
    red, green, blue = frames_THW3[drawn_THW].mean(axis=0)
    assert green > 150 > 3 * max(red, blue)
    with pytest.raises(UserError, match=r"composite\.refine must be one of none, harmonize, .*'theirs'"):
        AnonymizeConfig(composite=CompositeConfig(refine="theirs"))
