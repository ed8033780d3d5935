"""Sample films whose poses are known, so that anonymizing them takes a second; and the inputs of users."""

from pathlib import Path

import pytest
from support.field_films import Films, Run
from support.formats import Truth, write_amass

from raymaskdp.anonymize import AnonymizeConfig, AnonymizeResult, anonymize
from raymaskdp.anonymize.people.finder import PoseConfig
from raymaskdp.synthetic.config import SynthesizeConfig
from raymaskdp.synthetic.synthesize import synthesize

FIELD = Path(__file__).parents[3] / "shared" / "field"


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Films:
    folder = tmp_path_factory.mktemp("films")
    synthesize(
        folder,
        SynthesizeConfig(
            seed=1, people=2, actions=("wave",), rooms=1, cameras=1, frames=6, width=96, height=72
        ),
    )
    (folder / "poses").mkdir()
    one, two = sorted((folder / "videos").glob("*.mp4"))
    # By the name of a file, or by its id: a pose of each name that a test gives a copy.
    for number, names in enumerate((("a", "x", "x.avatar", "clip"), ("b", "y"))):
        truth = Truth(folder / "truth" / f"{(one, two)[number].stem}.npz")
        for name in names:
            write_amass(folder / "poses" / f"{name}.npz", truth)
    (folder / "secret").write_bytes(bytes(32))
    pose = PoseConfig(source="smpl", skeletons=folder / "poses", veto=False)
    return Films(one, two, AnonymizeConfig(pose=pose, workers=0, secret_file=folder / "secret"))


@pytest.fixture
def run(films: Films) -> Run:
    def go(source: str | Path, out: str | Path) -> AnonymizeResult:
        return anonymize(source, out, films.settings, progress=False)

    return go


@pytest.fixture(scope="session")
def field() -> Path:
    """Files as users have them, beside the repository; tests that need them are skipped without."""
    if not FIELD.is_dir():
        pytest.skip(f"the files of users are not at {FIELD}")
    return FIELD
