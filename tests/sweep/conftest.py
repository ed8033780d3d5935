from __future__ import annotations

from pathlib import Path

import pytest
from support.samples import write_anonymized

from raymaskdp.train import PrepareConfig, prepare


@pytest.fixture(scope="session")
def clip_store(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    write_anonymized(folder / "anonymized", train=12, test=6)
    prepare(folder / "anonymized", folder / "clips", PrepareConfig(width=32, height=24))
    return folder / "clips"
