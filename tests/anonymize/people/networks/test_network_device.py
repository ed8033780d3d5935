"""Where networks compute: on the CPU, or on the GPU that a worker holds a share of."""

import pytest
import torch

from raymaskdp.anonymize.people.networks.device import device_for
from raymaskdp.errors import UserError


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_share_of_a_gpu_that_is_not_there_is_refused() -> None:
    assert device_for(0).type == "cpu"
    with pytest.raises(UserError, match=r"gpus=0\.5, but torch .* finds no GPU"):
        device_for(0.5)
