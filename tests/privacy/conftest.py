"""One thread for all numerical tests here: they are small, and share the machine."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
