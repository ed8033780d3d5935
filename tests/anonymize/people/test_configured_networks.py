"""Settings name networks: each does its part of the search, and of a whole run, with tiny random weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support import tiny_networks
from support.formats import Film, write_smarthome

from raymaskdp import config as configuration
from raymaskdp.anonymize.config import AnonymizeConfig
from raymaskdp.anonymize.people.config import PoseConfig, check_source
from raymaskdp.anonymize.people.finder import FindPeople
from raymaskdp.anonymize.people.people import People
from raymaskdp.anonymize.people.sources import pose_source
from raymaskdp.anonymize.run import anonymize
from raymaskdp.anonymize.verify.config import VerifyConfig
from raymaskdp.errors import UserError
from raymaskdp.video.reader import VideoFrames

pytestmark = pytest.mark.slow

SETTINGS = ("detector", "keypoints", "masks")


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A folder of each setting, and a detector that detects no person."""
    folder = tmp_path_factory.mktemp("networks")
    made = {
        "detector": tiny_networks.detector(folder / "rt_detr", loud=True),
        "blind": tiny_networks.detector(folder / "d_fine", "DFine", blind=True),
        "keypoints": tiny_networks.keypoints(folder / "vitpose"),
        "masks": tiny_networks.sam(folder / "sam2"),
    }
    return {name: str(path) for name, path in made.items()}


def found(film: Film, **settings: object) -> People:
    return FindPeople(PoseConfig(**settings))(VideoFrames(film.record.path), film.info)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def usual(film: Film) -> People:
    return found(film)


def test_a_detector_stands_in_the_place_of_the_shipped_one(film: Film, networks: dict[str, str]) -> None:
    """One that reports people everywhere: there are tracks or doubts where the shipped one has none."""
    blank = [np.full((film.info.height, film.info.width, 3), 90, np.uint8)] * 4
    assert not FindPeople(PoseConfig())(blank, film.info).doubts
    people = FindPeople(PoseConfig(detector=networks["detector"]))(blank, film.info)
    assert people.persons or people.doubts
    assert {int(kind) for things in people.things.values() for kind in things.class_N} <= {0, 16}


def test_a_detector_is_asked_beside_files_too(film: Film, networks: dict[str, str], tmp_path: Path) -> None:
    write_smarthome(tmp_path / f"{film.name}_pose3d.json", film.truth)
    files = {"source": "smarthome", "skeletons": tmp_path}
    count = []
    for config in (PoseConfig(**files), PoseConfig(**files, detector=networks["detector"])):  # type: ignore[arg-type]
        people = pose_source(config)(VideoFrames(film.record.path), film.info, film.record)
        count.append(len(people.persons) + len(people.doubts))
    assert count[1] > count[0]


@pytest.mark.parametrize("setting", ["keypoints", "masks"])
def test_what_is_hidden_only_grows(film: Film, usual: People, networks: dict[str, str], setting: str) -> None:
    people = found(film, **{setting: networks[setting]})
    assert len(people.persons) == len(usual.persons) > 0
    assert people.doubts == usual.doubts
    grown = 0
    for before, after in zip(usual.persons, people.persons, strict=True):
        np.testing.assert_array_equal(before.visible_T, after.visible_T)
        np.testing.assert_array_equal(np.asarray(before.outlines_T), np.asarray(after.outlines_T))
        np.testing.assert_array_equal(before.world_TL3, after.world_TL3)
        least_TB, masks_TB = np.asarray(before.masks_T), np.asarray(after.masks_T)
        assert not (least_TB & ~masks_TB).any()
        grown += int(np.bitwise_count(masks_TB & ~least_TB).sum())
    assert grown > 0


def test_frames_in_batches_give_the_same_people(film: Film, networks: dict[str, str]) -> None:
    named = {name: networks[name] for name in SETTINGS}
    alone, together = (found(film, **named, batch=batch) for batch in (1, 4))
    assert len(alone.persons) == len(together.persons) > 0
    assert len(alone.doubts) == len(together.doubts)
    for one, other in zip(alone.persons, together.persons, strict=True):
        np.testing.assert_array_equal(one.visible_T, other.visible_T)
        np.testing.assert_allclose(one.keypoints_TL3, other.keypoints_TL3, atol=0.1)
        differ = np.bitwise_count(np.asarray(one.masks_T) ^ np.asarray(other.masks_T)).sum()
        assert differ < 0.001 * one.masks_T.shape[0] * film.info.height * film.info.width


@pytest.mark.parametrize("settings", [["detector"], ["blind"], ["keypoints"], ["masks"], list(SETTINGS)])
def test_a_whole_run_hides_everybody(
    film: Film, networks: dict[str, str], tmp_path: Path, settings: list[str]
) -> None:
    """With a detector that detects no person, the second detector and verification still find people."""
    named = {"detector" if name == "blind" else name: networks[name] for name in settings}
    config = AnonymizeConfig(
        workers=0, pose=PoseConfig(**named), verify=VerifyConfig(max_redacted=1, max_blank=1)
    )
    (row,) = anonymize(film.record.path, tmp_path / "out", config, progress=False).rows
    assert row.status == "done", row.reason
    assert json.loads(row.metrics)["surviving_pixels"] == 0
    with np.load(film.path) as truth, np.load(tmp_path / "out" / f"{film.name}.npz") as written:
        person_TB, removed_TB = truth["masks"], written["person_masks"]
    assert not (person_TB & ~removed_TB).any()


REFUSED = {
    "keypoints of files": ({"source": "ntu", "keypoints": "x/y"}, "pose.source=ntu does not use"),
    "masks of files": ({"source": "smpl", "masks": "x/y"}, "pose.source=smpl does not use"),
    "no veto": ({"source": "ntu", "veto": False, "detector": "x/y"}, "pose.veto=false does not use"),
}


@pytest.mark.parametrize(("settings", "says"), REFUSED.values(), ids=REFUSED)
def test_networks_that_nobody_asks_are_refused(settings: dict[str, object], says: str) -> None:
    with pytest.raises(UserError, match=says):
        check_source(PoseConfig(skeletons=Path("somewhere"), **settings))  # type: ignore[arg-type]


def test_the_example_is_a_configuration() -> None:
    path = Path(__file__).parents[3] / "configs" / "anonymize_gpu.yaml"
    config = configuration.load(AnonymizeConfig, path, [])
    assert config.gpus > 0
    assert all((config.pose.detector, config.pose.keypoints, config.pose.masks))
    assert config.digest() != AnonymizeConfig().digest()


def test_the_second_look_is_by_another_network(networks: dict[str, str]) -> None:
    inside = Path(networks["detector"]) / "model.onnx"
    with pytest.raises(UserError, match="the second detection must be by another network"):
        AnonymizeConfig(pose=PoseConfig(detector=networks["detector"]), verify=VerifyConfig(detector=inside))


def test_a_run_refuses_unfit_networks_before_it_starts(
    film: Film, networks: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for settings, says in (
        ({"detector": networks["keypoints"]}, r"pose\.detector: .*cannot find boxes"),
        ({"masks": str(tmp_path / "nowhere")}, r"pose\.masks is neither a folder"),
    ):
        with pytest.raises(UserError, match=says):
            anonymize(film.record.path, out, AnonymizeConfig(pose=PoseConfig(**settings)))
    assert not out.exists()
