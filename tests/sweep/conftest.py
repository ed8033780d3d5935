from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "train"))  # the miniature data are drawn there

from samples import write_anonymized

from raymaskdp.train import PrepareConfig, prepare


@pytest.fixture(scope="session")
def clip_store(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    write_anonymized(folder / "anonymized", train=12, test=6)
    prepare(folder / "anonymized", folder / "clips", PrepareConfig(width=32, height=24))
    return folder / "clips"
