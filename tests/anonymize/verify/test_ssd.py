"""The detector of the second look."""

from pathlib import Path

import numpy as np
import pytest

from raymaskdp.anonymize.people import boxes
from raymaskdp.anonymize.people.networks.nanodet import NanoDet
from raymaskdp.anonymize.verify import ssd
from raymaskdp.anonymize.verify.ssd import SIDE, SsdDetector
from raymaskdp.video.reader import stream


def test_anchors_are_those_of_the_network() -> None:
    """Widths and heights in pixels, from the description that its authors give for OpenCV."""
    first = ssd._anchors(0, 19)[:3] * SIDE
    np.testing.assert_allclose(first[:, 2], [30, 84.8528, 42.4264], rtol=1e-4)
    np.testing.assert_allclose(first[:, 3], [30, 42.4264, 84.8528], rtol=1e-4)
    second = ssd._anchors(1, 10)
    np.testing.assert_allclose(
        second[:6, 3] * SIDE, [105, 74.2462, 148.4924, 60.6218, 181.9563, 125.4990], rtol=1e-3
    )
    np.testing.assert_allclose(second[6, :2], [0.15, 0.05])
    assert len(second) == 600


def test_nobody_is_seen_in_plain_pictures() -> None:
    detect = SsdDetector()
    for level in (0, 128, 255):
        assert detect(np.full((240, 320, 3), level, np.uint8)).shape == (0, 5)


@pytest.mark.parametrize(("name", "people"), [("handshake_outdoor", 2), ("taiji_hall", 1), ("cars", 0)])
def test_people_in_real_stills_are_seen_where_another_network_sees_them(
    shared_videos: Path, name: str, people: int
) -> None:
    frame_HW3 = next(iter(stream(shared_videos / "real" / f"{name}.mp4")))
    seen_N5 = SsdDetector()(frame_HW3)
    seen_N5 = seen_N5[seen_N5[:, 4] >= 0.5]
    assert len(seen_N5) == people
    if people:
        other_N5 = NanoDet()(frame_HW3).people()
        assert (boxes.iou(seen_N5[:, :4], other_N5[:, :4]).max(1) > 0.7).all()
