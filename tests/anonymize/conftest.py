"""A sample video that several tests share."""

import pytest
from support.formats import Film, Truth

from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.synthetic.config import SynthesizeConfig
from raymaskdp.synthetic.synthesize import synthesize
from raymaskdp.video.reader import probe


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Film:
    """Two people who wave beside each other, ten frames."""
    folder = tmp_path_factory.mktemp("film")
    synthesize(
        folder,
        SynthesizeConfig(
            seed=1, people=2, actions=("wave",), rooms=1, cameras=1, frames=10, persons_per_video=2, width=256
        ),
    )
    path = sorted((folder / "videos").glob("*.mp4"))[0]
    truth = folder / "truth" / f"{path.stem}.npz"
    return Film(VideoRecord(video_id="v", path=str(path)), probe(path), Truth(truth), truth)
