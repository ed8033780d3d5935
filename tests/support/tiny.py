"""The demo in small: four videos, a few steps. Shared by the tests of the demo and of the docs' commands."""

import dataclasses
from pathlib import Path

from raymaskdp.anonymize import AnonymizeConfig
from raymaskdp.demo import DemoConfig
from raymaskdp.sweep import SweepConfig
from raymaskdp.synthetic.config import SynthesizeConfig
from raymaskdp.train import ClipConfig, ComputeConfig, PrepareConfig, PrivacyConfig, TrainConfig

HERE = ComputeConfig(workers=0, tensorboard=False)
NOWHERE = Path("filled-in-by-the-demo")


def settings() -> DemoConfig:
    sample = SynthesizeConfig(
        people=4, actions=("wave", "squat"), rooms=1, cameras=1, frames=12, test_share=0.5
    )  # fmt: skip
    clips = ClipConfig(frames=4, stride=2, draws=4)
    common = {"data": NOWHERE, "clips": clips, "steps": 4, "compute": HERE}
    private = TrainConfig(**common, privacy=PrivacyConfig(mechanism="maskdp", epsilon=4, expected_batch=3))
    return DemoConfig(
        public=dataclasses.replace(sample, seed=1),
        private=sample,
        anonymize=AnonymizeConfig(),
        prepare=PrepareConfig(),
        pretrain=TrainConfig(**common, privacy=PrivacyConfig(mechanism="sgd", clips=1)),
        train=private,
        sweep=SweepConfig(
            out=NOWHERE,
            train=private,
            grids={"frontier": {"privacy.mechanism": ("maskdp", "dpsgd"), "privacy.epsilon": (4.0,)}},
            seeds=(0, 1),
        ),
    )
