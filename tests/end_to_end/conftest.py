"""One tiny demo for all tests that need a finished one."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `tiny`
sys.path.insert(0, str(Path(__file__).parents[1]))  # for `test_doc_commands`


from tiny import settings

from raymaskdp.demo import DemoResult, demo


@pytest.fixture(scope="session")
def finished(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DemoResult]:
    """The folder of a finished demo, which no test changes, and what came of it."""
    folder = tmp_path_factory.mktemp("demo")
    return folder, demo(folder, settings())
