"""What tests of several parts share: a Ray cluster for the whole session, and drawn videos."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# What a busy machine does to a clock is no news about this project.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

os.environ.setdefault("OMP_NUM_THREADS", "1")

SHARED_VIDEOS = Path(__file__).parents[2] / "shared" / "videos"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that start clusters, kill nodes and wait for both are tried twice; a retry is reported as such.

    What a busy machine does to a heartbeat is no news about this project; what fails twice is.
    """
    for item in items:
        if item.get_closest_marker("cluster"):
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """A local Ray cluster of two CPUs that this session owns; commands inside tests join it."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_AUTH_MODE"] = "disabled"
    import ray

    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as folder:
        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=256 * 2**20,
            log_to_driver=False,
            _temp_dir=folder,  # short: socket paths have at most 107 characters
        )
        yield
        ray.shutdown()


@pytest.fixture(scope="session")
def shared_videos() -> Path:
    """Real clips of people beside the repository; a test that needs them is skipped where they are not."""
    if not SHARED_VIDEOS.is_dir():
        pytest.skip(f"the real clips are not at {SHARED_VIDEOS}")
    return SHARED_VIDEOS
