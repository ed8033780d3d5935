"""The audit passes videos that leak nothing, and names each leak that is planted."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from support.drawn import H, Leak, T, W, draw

from raymaskdp import cli
from raymaskdp.anonymize.people.config import PoseConfig
from raymaskdp.audit import AnonymizationAuditConfig, audit_anonymization, video_pairs
from raymaskdp.audit.anonymization import read_audit
from raymaskdp.audit.attacks import actions, motion
from raymaskdp.audit.attacks.faces import FrameDetectors
from raymaskdp.audit.attacks.matching import Entries, compare, match
from raymaskdp.audit.leaks import find_leaks
from raymaskdp.audit.video_pairs import Pair, VideoPair, read_pair
from raymaskdp.bodies.body import load_body
from raymaskdp.bodies.skeleton import JOINT, NUM_JOINTS
from raymaskdp.errors import UserError
from raymaskdp.synthetic.config import SynthesizeConfig
from raymaskdp.synthetic.synthesize import synthesize
from raymaskdp.video import masks, reader

FAST = AnonymizationAuditConfig(frames=T, detector_frames=0, epochs=10, action_epochs=0, progress=False)


@pytest.mark.slow
def test_nothing_is_found_where_nothing_leaks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sources, out = draw(tmp_path, Leak())
    settings = ["frames=6", "detector_frames=0", "epochs=10", "action_epochs=1", "progress=false"]
    command = ["audit", "anonymization", str(out), str(sources), "--json", *settings]
    assert cli.main(command) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["findings"] == []
    rank1 = {attack["name"]: attack["result"]["rank1"] for attack in shown["attacks"]}
    # The attackers are able: they distinguish people in the sources, by appearance and by limbs.
    assert rank1["appearance, source to source"] > 0.9
    assert rank1["limb lengths, source to source"] == 1
    # One avatar a subject: the anonymized videos of a subject link, by design.
    assert rank1["appearance, anonymized to anonymized"] > 0.9
    assert shown["pose"]["videos"] == 18
    assert shown["actions"][0]["videos"] == 3
    folder = tmp_path / "anonymized-audit"
    written = {path.name for path in folder.iterdir()}
    assert {"identification.svg", "identification.png", "identification.csv", "counts.csv"} <= written
    assert read_audit(folder / "audit.json").videos == 18


@pytest.mark.slow
def test_planted_leaks_are_named(tmp_path: Path) -> None:
    sources, out = draw(tmp_path, Leak(shape_kept=True, layer_mixed=0.4, colours_kept=True))
    found = "\n".join(audit_anonymization(out, sources, settings=FAST).findings)
    assert "limb lengths, anonymized to source" in found
    assert "avatar layer contains pixels of the source" in found
    assert "appearance, anonymized to source" in found


def test_who_was_left_in_is_named(tmp_path: Path) -> None:
    sources, out = draw(tmp_path, Leak(person_in=("p1_t0",)), people=3, takes=1)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file, and"):
        audit_anonymization(out, sources, tmp_path / "file/audit", FAST)
    result = audit_anonymization(out, sources, settings=FAST)
    assert result.findings == ("The person's own pixels are in the output of p1_t0.",)
    assert (result.counts[0].found, result.counts[0].trials) == (1, 3)
    assert any("needs 4 people" in text for text in result.not_shown)


def pair(*, kept: float = 0.0, mixed: float = 0.0, spilled: int = 0) -> Pair:
    rng = np.random.default_rng(0)
    person = np.zeros((T, H, W), bool)
    person[:, 10:80, 30:60] = True
    avatar = np.zeros((T, H, W), bool)
    avatar[:, 15:80, 35:65] = True
    source = np.where(person[..., None], 200, 90) + rng.normal(0, 6, (T, H, W, 3))
    layer = np.where(avatar[..., None], 120 + rng.normal(0, 6, (T, H, W, 3)), 0)
    output = np.where(avatar[..., None], layer, 90)
    stays = (rng.random((T, H, W)) < kept) & person
    layer = np.where(avatar[..., None], (1 - mixed) * layer + mixed * source, 0)
    layer[0].reshape(-1, 3)[:spilled] = 9
    frames = [
        np.clip(f, 0, 255).astype(np.uint8)
        for f in (source, np.where(stays[..., None], source, output), layer)
    ]
    return Pair(
        case=None,
        source_THW3=frames[0],
        output_THW3=frames[1],
        layer_THW3=frames[2],
        person_THW=person,
        avatar_THW=avatar,
    )  # type: ignore[arg-type]


def test_each_leak_has_its_own_measure() -> None:
    honest = find_leaks(pair())
    assert not honest.person
    assert not honest.layer
    assert find_leaks(pair(kept=0.8)).kept == pytest.approx(0.8, abs=0.05)
    assert find_leaks(pair(kept=0.8)).person
    assert find_leaks(pair(mixed=0.5)).layer
    assert not find_leaks(pair(mixed=0.5)).person
    assert find_leaks(pair(spilled=3)).spilled == 3


def test_edges_of_alike_garments_are_no_leak() -> None:
    """Collar, waist and jacket of person and avatar are in the same places, in other colours."""
    alike = pair()
    for row in (30, 40, 50, 60, 70):
        alike.source_THW3[:, row : row + 4, 30:60] = 40
        alike.layer_THW3[:, row : row + 4, 35:65] = 20
    alike.layer_THW3[:, 0:10] = 0
    assert not find_leaks(alike).layer


def entries(features: np.ndarray, subjects: np.ndarray, *, camera: str = "") -> Entries:
    names = np.array([f"{subject}-{n}" for n, subject in enumerate(subjects)])
    return Entries(
        features_ND=features, subjects_N=subjects, videos_N=names, cameras_N=np.full(len(names), camera)
    )


def test_chance_knows_that_a_subjects_videos_are_not_independent() -> None:
    rng = np.random.default_rng(1)
    subjects = np.repeat([f"s{n}" for n in range(8)], 6)
    people = rng.normal(size=(8, 16)).repeat(6, 0)
    gallery = entries(people + 0.1 * rng.normal(size=people.shape), subjects)
    right = match([compare(entries(people, subjects), gallery)])
    assert right.rank1 == right.mean_ap == right.tar == 1
    assert right.found
    # Avatars that know nothing: whole subjects hit or miss, so chance reaches far above 1 / 8.
    strangers = rng.normal(size=(8, 16)).repeat(6, 0)
    blind = match([compare(entries(strangers, subjects), gallery)])
    assert not blind.found
    assert blind.chance == pytest.approx(1 / 8, abs=0.03)
    assert blind.chance_high >= 2 / 8


def test_a_video_is_compared_with_neither_itself_nor_its_room() -> None:
    subjects = np.array(["a", "b"])
    same = entries(np.eye(2), subjects)
    assert np.isneginf(np.diag(compare(same, same).similarity_QG)).all()
    room = entries(np.eye(2), subjects, camera="c")
    assert np.isneginf(compare(room, room).similarity_QG).all()


def test_gait_is_found_where_there_is_one() -> None:
    """People who walk at an individual rhythm are recognised by it, at any size."""
    rng = np.random.default_rng(2)
    body = load_body()
    features, subjects = [], []
    for person in range(6):
        for _ in range(4):
            time = np.arange(60) / 20
            swing = np.sin(2 * np.pi * (0.5 + 0.3 * person) * time + rng.uniform(0, 6))
            rotations = rng.normal(0, 0.01, (60, NUM_JOINTS, 3))
            for joint, reach in (("shoulder", 0.5), ("elbow", 0.4), ("hip", 0.6), ("knee", 0.5)):
                for side, sign in (("left", 1), ("right", -1)):
                    rotations[:, JOINT[f"{side}_{joint}"], 1 if joint == "elbow" else 0] += (
                        sign * reach * swing
                    )
            joints = body.joints(rotations.astype(np.float32), np.zeros((60, 3)), rng.normal(size=10))
            points = joints[:, motion.SMPL_P].astype(np.float64)
            features.append(motion.MovingSkeleton(points_TP3=points, fps=20.0).gait())
            subjects.append(f"s{person}")
    seen = entries(motion.standardized(np.stack(features), np.zeros(24)), np.array(subjects))
    assert match([compare(seen, seen)]).rank1 > 0.8


@pytest.mark.slow
def test_actions_are_named_from_what_shows_them() -> None:
    """A dot that goes up or down: seen in the real and blurred clips, hidden where it is removed."""
    rng = np.random.default_rng(3)
    clips: dict[str, list[np.ndarray]] = {kind: [] for kind in actions.KINDS}
    labels = []
    for number in range(48):
        up = number % 2
        clip = rng.integers(90, 110, (8, actions.SIDE, actions.SIDE, 3)).astype(np.uint8)
        empty = clip.copy()
        for time in range(8):
            row = 30 - 3 * time if up else 6 + 3 * time
            clip[time, row : row + 5, 15:20] = 250
        for kind in actions.KINDS:
            clips[kind].append(empty if kind == "removed" else clip)
        labels.append(("down", "up")[up])
    test = np.arange(48) >= 32
    found = {
        (a.trained_on, a.asked_about): a.accuracy
        for a in actions.measure_actions(clips, labels, test, epochs=8, seed=0)
    }
    assert found["real", "real"] > 0.9
    assert found["anonymized", "real"] > 0.9
    assert found["removed", "removed"] < 0.85


@pytest.mark.slow
def test_somebody_beside_the_avatars_is_seen(tmp_path: Path) -> None:
    """A person whom the masks do not know at all: the source itself, called anonymized."""
    made = synthesize(
        tmp_path / "sample",
        SynthesizeConfig(people=1, actions=("wave",), rooms=1, cameras=1, frames=4, test_share=0),
    )
    video = next((tmp_path / "sample" / "videos").glob("*.mp4"))
    frames = reader.read_frames(video, [0, 2])
    nobody = np.zeros(frames.shape[:3], bool)
    left_in = Pair(
        case=None,
        source_THW3=frames,
        output_THW3=frames,
        layer_THW3=0 * frames,
        person_THW=nobody,
        avatar_THW=nobody,
    )  # type: ignore[arg-type]
    assert made.videos == 1
    detectors = FrameDetectors(PoseConfig())
    assert detectors.detect(left_in, frames=2).beside == 2
    # The same outline where a person was found is a silhouette that was drawn, not a person who was missed.
    truth = np.load(next((tmp_path / "sample" / "truth").glob("*.npz")))
    outline = masks.unpack(truth["masks"][[0, 2]], *frames.shape[1:3])
    drawn = np.where(outline[..., None], np.uint8(40), frames)
    assert detectors.detect(dataclasses.replace(left_in, output_THW3=drawn), frames=2).beside == 2
    known = dataclasses.replace(left_in, output_THW3=drawn, person_THW=outline)
    assert detectors.detect(known, frames=2).beside == 0


def test_what_cannot_be_compared_is_said(tmp_path: Path) -> None:
    sources, out = draw(tmp_path, Leak(), people=2, takes=1)
    with pytest.raises(UserError, match="has no anonymized video"):
        video_pairs.find_cases(tmp_path, sources, most=4)
    cases = video_pairs.find_cases(out, sources, most=1)
    assert [type(case) for case in cases] == [VideoPair]
    assert read_pair(cases[0], frames=3).output_THW3.shape == (3, H, W, 3)
    (sources / "videos" / "p0_t0.mp4").write_bytes(b"another")
    with pytest.raises(UserError, match="not the file"):
        video_pairs.find_cases(out, sources, most=4)
    (sources / "videos" / "p0_t0.mp4").unlink()
    with pytest.raises(UserError, match="does not exist"):
        video_pairs.find_cases(out, sources, most=4)
