"""One tiny demo for all tests that need a finished one."""

from pathlib import Path

import pytest
from support.tiny import settings

from raymaskdp.demo import DemoResult, demo


@pytest.fixture(scope="session")
def finished(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DemoResult]:
    """The folder of a finished demo, which no test changes, and what came of it."""
    folder = tmp_path_factory.mktemp("demo")
    return folder, demo(folder, settings())
