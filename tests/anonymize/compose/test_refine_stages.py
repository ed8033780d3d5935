"""Whatever refines the composite, the avatar layer on disk is the render, and all checks hold."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from raymaskdp.anonymize.compose.config import CompositeConfig
from raymaskdp.anonymize.compose.diffusion.settings import DiffusionConfig
from raymaskdp.anonymize.config import AnonymizeConfig
from raymaskdp.anonymize.item import Pending
from raymaskdp.anonymize.output.secret import SecretFile
from raymaskdp.anonymize.stages import Analyze, Job, Synthesize
from raymaskdp.benchmarks.diffusion import tiny_diffusion
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.synthetic.config import SynthesizeConfig
from raymaskdp.synthetic.synthesize import synthesize
from raymaskdp.video import masks
from raymaskdp.video.reader import stream

REFINED = ("harmonize", "embedded", "diffusion")


@pytest.mark.slow
def test_the_avatar_layer_is_the_render_whatever_refines(tmp_path: Path) -> None:
    """The provenance rule: training reads avatar pixels from this layer, and from nowhere else."""
    synthesize(
        tmp_path / "sample",
        SynthesizeConfig(
            seed=5, people=1, actions=("wave",), rooms=1, cameras=1, frames=8, width=320, height=240
        ),
    )
    (path,) = (tmp_path / "sample" / "videos").glob("*.mp4")
    names = tiny_diffusion.sd15(tmp_path / "weights")
    diffusion = DiffusionConfig(**names, side=64, steps=2, strength=1.0, guidance=1.0, max_pose_shift=0)
    (tmp_path / "work").mkdir()
    found = None
    for refine in REFINED:
        config = AnonymizeConfig(composite=CompositeConfig(refine=refine), diffusion=diffusion, workers=0)
        (tmp_path / refine).mkdir()
        job = Job(out=tmp_path / refine, work=tmp_path / "work", secret=SecretFile.at(tmp_path / "secret"))
        found = found or Analyze(config, job)(Pending(record=VideoRecord(video_id="v", path=str(path))))
        item = Synthesize(config, job)(found)
        assert item.status == "done", item.reasons
    assert item.metrics["avatars_refined"] == 8
    assert item.metrics["avatars_failed"] == 0
    assert item.metrics["surviving_pixels"] == 0
    assert len({(tmp_path / refine / "v.avatar.mp4").read_bytes() for refine in REFINED}) == 1
    assert len({(tmp_path / refine / "v.mp4").read_bytes() for refine in REFINED}) == 3
    with np.load(tmp_path / "harmonize" / "v.npz") as one, np.load(tmp_path / "diffusion" / "v.npz") as other:
        assert one.files == other.files
        for name in one.files:
            np.testing.assert_array_equal(one[name], other[name])
        drawn = masks.unpack(one["avatar_masks"], int(one["height"]), int(one["width"]))
    one, other = (
        np.stack(list(stream(tmp_path / refine / "v.mp4"))).astype(int)
        for refine in ("harmonize", "diffusion")
    )
    difference = np.abs(one - other).max(axis=-1)
    assert difference[drawn].mean() > 10
    assert difference[~drawn].mean() < 2
    assert dataclasses.replace(config, diffusion=DiffusionConfig(**names)).digest() != config.digest()
