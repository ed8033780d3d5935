"""Poses from files: the renderer's truth written in each format comes back, and bad files are refused."""

import contextlib
import dataclasses
import io
import itertools
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from support import formats
from support.formats import Film, Truth
from support.silhouette import silhouette

from raymaskdp.anonymize.config import AnonymizeConfig
from raymaskdp.anonymize.people import boxes
from raymaskdp.anonymize.people.box_search import BoxSearchResult
from raymaskdp.anonymize.people.box_tracker import BoxTrack
from raymaskdp.anonymize.people.config import PoseConfig
from raymaskdp.anonymize.people.people import People
from raymaskdp.anonymize.people.scoring import score
from raymaskdp.anonymize.people.sources import SOURCES, ntu, pose_source, smarthome, smpl
from raymaskdp.anonymize.people.sources.lookup import linked
from raymaskdp.anonymize.people.sources.skeletons import Skeletons, people_of
from raymaskdp.anonymize.people.sources.unpickle import load_plain
from raymaskdp.bodies.avatar import draw_avatar
from raymaskdp.bodies.body import load_body
from raymaskdp.bodies.fitting.config import FitConfig
from raymaskdp.bodies.fitting.fit import FitBodies
from raymaskdp.bodies.motion import Motion
from raymaskdp.bodies.skeleton import BODY_JOINTS, PARENTS
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.errors import UserError
from raymaskdp.video.mask_film import SmallMask
from raymaskdp.video.masks import unpack
from raymaskdp.video.reader import VideoInfo, probe

torch.set_num_threads(1)
REAL_POSES = Path(__file__).parents[4] / "shared" / "poses"

Writer = Callable[[Path, Truth], None]


def write_ntu(folder: Path, film: Film) -> None:
    formats.write_ntu(folder / f"{film.name}.skeleton", film.truth)


def write_smarthome(folder: Path, film: Film) -> None:
    formats.write_smarthome(folder / f"{film.name}_pose3d.json", film.truth)


def write_phalp(folder: Path, film: Film) -> None:
    joblib = pytest.importorskip("joblib")
    joblib.dump(formats.phalp(film.truth), folder / f"demo_{film.name}.pkl", compress=3)


def write_wham(folder: Path, film: Film) -> None:
    joblib = pytest.importorskip("joblib")
    (folder / film.name).mkdir()
    joblib.dump(formats.wham(film.truth), folder / film.name / "wham_output.pkl")


def write_tram(folder: Path, film: Film) -> None:
    formats.write_tram(folder / film.name, film.truth)


def write_amass(folder: Path, film: Film) -> None:
    (folder / film.name).mkdir()
    for person in film.truth.people:
        formats.write_amass(folder / film.name / f"{person}.npz", film.truth, person, rate=5)


def fitted(people: People, info: VideoInfo) -> list[Motion]:
    avatars = [draw_avatar(b"s" * 32, f"somebody {i}") for i in range(len(people.persons))]
    return FitBodies(FitConfig())(people, info, avatars)


@pytest.mark.parametrize(
    ("source", "write", "most_mm", "most_share"),
    [
        ("ntu", write_ntu, 30, 0.02),
        ("smarthome", write_smarthome, 30, 0.02),
        # Turns of limbs of SMPL's lengths, which are others: its shoulders are 8 cm further from its hips.
        ("smpl", write_phalp, 70, 0.15),
        ("smpl", write_wham, 70, 0.15),
        ("smpl", write_tram, 70, 0.15),
        ("smpl", write_amass, 70, 0.15),
    ],
)
def test_the_truth_comes_back(
    source: str, write: Writer, most_mm: float, most_share: float, film: Film, tmp_path: Path
) -> None:
    write(tmp_path, film)
    find = pose_source(PoseConfig(source=source, skeletons=tmp_path, veto=False))
    people = find(iter(()), film.info, film.record)  # no frame is read
    assert not people.doubts
    got = score(people, fitted(people, film.info), film.path, load_body())
    assert got.person_recall == 1
    assert got.identity_switches == got.false_tracks == 0
    assert got.joint_error_mm < most_mm
    assert got.joint_error_share < most_share
    assert got.mask_recall > 0.97
    assert got.mask_iou > 0.35  # generous, but not boundless


def test_an_avatar_stands_where_the_fitted_body_does(film: Film, tmp_path: Path) -> None:
    """Its hands and feet are where SMPL's mean body has them in the picture; limbs and pose are kept."""
    write_amass(tmp_path, film)
    find = pose_source(PoseConfig(source="smpl", skeletons=tmp_path, veto=False))
    people = find(iter(()), film.info, film.record)
    ends = [BODY_JOINTS.index(f"{side}_{part}") for side in ("left", "right") for part in ("wrist", "ankle")]
    for person, motion in zip(people.persons, fitted(people, film.info), strict=True):
        who = person.track_id
        joints = load_body().joints(motion.rotations_TJ3, motion.translation_T3, motion.betas_S)
        image = joints[:, ends] @ motion.camera_33.T
        wanted = smpl_joints(film.truth, who)[:, ends] @ motion.camera_33.T
        apart = np.linalg.norm(image[..., :2] / image[..., 2:] - wanted[..., :2] / wanted[..., 2:], axis=-1)
        height = np.ptp(person.keypoints_TL3[..., 1], axis=1).mean()
        assert np.median(apart, 0).max() < 0.06 * height
        turned = Rotation.from_rotvec(motion.rotations_TJ3[:, :22].reshape(-1, 3)).inv()
        turned = turned * Rotation.from_rotvec(film.truth.rotations[who][:, :22].reshape(-1, 3))
        assert np.degrees(turned.magnitude()).mean() < 4


def smpl_joints(truth: Truth, person: int) -> np.ndarray:
    """Joints [T, 22, 3] of SMPL's mean body in the truth's pose, with its hips where the truth has them."""
    turns, placed = [], []
    for joint in range(22):
        local = Rotation.from_rotvec(truth.rotations[person][:, joint])
        parent = int(PARENTS[joint])
        turns.append(turns[parent] * local if joint else local)
        bone = smpl.REST_J3[joint] - smpl.REST_J3[parent]
        placed.append(placed[parent] + turns[parent].apply(bone) if joint else truth.smpl_pelvis(person))
    return np.stack(placed, 1)


@pytest.mark.skipif(not REAL_POSES.is_dir(), reason="the shared pose files are not there")
def test_a_real_dump_stands_where_its_own_renderer_drew_it(tmp_path: Path) -> None:
    """A dump of GVHMR's against its own picture of it: overlap, and how far up the feet are."""
    shutil.copy(REAL_POSES / "tennis_hmr4d_results.pt", tmp_path / "tennis.pt")
    record = VideoRecord(video_id="tennis", path=str(REAL_POSES / "tennis.mp4"))
    info = probe(record.path)
    people = pose_source(PoseConfig(source="smpl", skeletons=tmp_path, veto=False))(iter(()), info, record)
    (motion,) = fitted(people, info)
    overlap, low = [], []
    with av.open(record.path) as plain, av.open(str(REAL_POSES / "tennis_incam.mp4")) as drawn:
        pairs = zip(plain.decode(video=0), drawn.decode(video=0), strict=True)
        for frame, (before, after) in enumerate(pairs):
            if frame % 30 == 0:
                image, over = before.to_ndarray(format="rgb24"), after.to_ndarray(format="rgb24")
                theirs = changed_region(image, over)
                ours = silhouette(motion, frame, *theirs.shape)
                overlap.append((ours & theirs).sum() / (ours | theirs).sum())
                low.append(np.flatnonzero(theirs.any(1))[-1] - np.flatnonzero(ours.any(1))[-1])
    assert np.median(overlap) > 0.7  # 0.62 before; an avatar of another girth cannot reach 1
    assert np.abs(np.median(low)) <= 6


def changed_region(image: np.ndarray, over: np.ndarray) -> np.ndarray:
    """The largest connected region in which two pictures differ, bool [H, W]."""
    differs = (np.abs(image.astype(int) - over).max(-1) > 25).astype(np.uint8)
    differs = cv2.morphologyEx(differs, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(differs)
    return labels == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()


def test_a_gvhmr_file_has_one_person(film: Film, tmp_path: Path) -> None:
    formats.write_gvhmr(tmp_path / f"{film.name}.pt", film.truth)
    (body,) = smpl.read(tmp_path, film.info, film.record).bodies
    np.testing.assert_allclose(body.rotations_TJ3[:, :22], film.truth.rotations[0, :, :22], atol=1e-5)
    np.testing.assert_allclose(body.world_TL3[:, 0], film.truth.smpl_pelvis(0), atol=0.01)


def test_hands_are_those_of_the_file_and_relaxed_where_it_has_none(film: Film, tmp_path: Path) -> None:
    truth = film.truth
    fists = truth.rotations.copy()
    fists[:, :, 22:, 2] = 0.7
    truth = Truth(film.path)
    truth.rotations = fists
    formats.write_amass(tmp_path / f"{film.name}.npz", truth)
    find = pose_source(PoseConfig(source="smpl", skeletons=tmp_path, veto=False))
    people = find(iter(()), film.info, film.record)
    (motion,) = fitted(people, film.info)
    np.testing.assert_allclose(motion.rotations_TJ3[:, 22:], fists[0, :, 22:], atol=1e-5)

    formats.write_ntu(tmp_path / f"{film.name}.skeleton", film.truth)
    find = pose_source(PoseConfig(source="ntu", skeletons=tmp_path, veto=False))
    (motion, _) = fitted(find(iter(()), film.info, film.record), film.info)
    bend = np.linalg.norm(motion.rotations_TJ3[:, 22:], axis=-1)
    assert 0.05 < bend.min() < bend.max() < 0.7


def test_shapes_are_not_read(film: Film, tmp_path: Path) -> None:
    """The same person is the same whatever the file says of the shape, and where there is no shape."""
    joints = []
    for betas in ([99.0] * 10, [0.0] * 10, None):
        dump = formats.wham(film.truth)
        for body in dump.values():
            body.pop("betas")
            body |= {} if betas is None else {"betas": np.array(betas)}
        formats.write_pickle(tmp_path / f"{film.name}.pkl", dump)
        skeletons = smpl.read(tmp_path, film.info, film.record)
        joints.append([body.world_TL3 for body in skeletons.bodies])
    np.testing.assert_array_equal(joints[0], joints[1])
    np.testing.assert_array_equal(joints[0], joints[2])


def bodies_of(lines: list[list[str]], identity: str) -> list[int]:
    return [i for i, line in enumerate(lines) if line[0] == identity and len(line) == 10]


FIRST, SECOND = "72057594037931101", "72057594037931102"


def test_a_short_or_wide_or_doubled_skeleton_is_a_ghost(film: Film, tmp_path: Path) -> None:
    long = dataclasses.replace(film.info, num_frames=3 * len(film.truth.frames))
    truth = Truth(film.path)
    for field in ("rotations", "pelvis", "joints"):
        setattr(truth, field, np.concatenate([getattr(truth, field)] * 3, axis=1))

    def read(change: Callable[[list[list[str]]], None]) -> Skeletons:
        path = tmp_path / "long.skeleton"
        formats.write_ntu(path, truth)
        lines = [line.split() for line in path.read_text().splitlines()]
        change(lines)
        path.write_text("\n".join(" ".join(line) for line in lines))
        return ntu.read(tmp_path, long, VideoRecord(video_id="long", path="long.mp4"))

    def lie_down(lines: list[list[str]]) -> None:
        for begin in bodies_of(lines, SECOND):
            for row in lines[begin + 2 : begin + 27]:
                row[0], row[1] = row[1], row[0]

    def double(lines: list[list[str]]) -> None:
        for mine, other in zip(bodies_of(lines, SECOND), bodies_of(lines, FIRST), strict=True):
            for own, row in zip(lines[mine + 2 : mine + 27], lines[other + 2 : other + 27], strict=True):
                own[:7] = [*(str(0.05 + float(word)) for word in row[:3]), *row[3:7]]

    def rename(lines: list[list[str]]) -> None:
        for begin in bodies_of(lines, FIRST)[15:]:
            lines[begin][0] = "1"

    def vanish(lines: list[list[str]]) -> None:
        for begin in reversed(bodies_of(lines, SECOND)[9:]):
            del lines[begin : begin + 27]
            lines[begin - 28][0] = "1"  # body in this frame, before the first one's 27 lines

    assert [len(some) for some in (read(lambda lines: None).bodies, read(lie_down).bodies)] == [2, 1]
    for change in (lie_down, double, vanish):
        assert len(read(change).ghosts) == 1, change
    renamed = read(rename)
    assert len(renamed.bodies) == 2  # one person under two identities
    assert all(body.seen_T.all() for body in renamed.bodies)


def test_a_ghost_is_removed_where_nobody_else_looks_and_else_checked(film: Film, tmp_path: Path) -> None:
    """What is not proven to be furniture is not left in the picture."""
    write_smarthome(tmp_path, film)
    known = smarthome.read(tmp_path, film.info, film.record)
    person, ghost = known.bodies  # a real person is taken for a ghost
    skeletons = dataclasses.replace(known, bodies=(person,), ghosts=(ghost,))
    unseen = people_of(skeletons, film.info, PoseConfig(), None)
    assert unseen.union_TB().any_T().any()
    ghost = unseen.persons[1]
    assert not ghost.visible_T.any()
    assert ghost.masks_T.any_T().all()

    def people(pixels: np.ndarray, *tracks: BoxTrack) -> People:
        looked = BoxSearchResult(frames=(), things={}, tracks=list(tracks))
        foreground = [SmallMask.of(pixels)] * film.info.num_frames
        return people_of(skeletons, film.info, PoseConfig(), looked, foreground)

    nothing = np.zeros((film.info.height, film.info.width), bool)
    assert len(people(nothing).persons) == 1
    assert not people(nothing).doubts
    assert {doubt.reason for doubt in people(~nothing).doubts} == {"a ghost among the skeletons looks human"}

    # Whom detectors saw beside all skeletons: a silhouette where they are sure, else a doubt.
    sure, unsure, dog = (
        box_track((2, 2, 22, 42), film.info.num_frames, votes=votes, against=against)
        for votes, against in ((10, 0), (0, 0), (1, 9))
    )
    found = people(nothing, sure)
    assert not found.doubts
    assert len(found.persons) == 2
    assert found.persons[1].visible_T.all()
    assert np.isnan(found.persons[1].keypoints_TL3).all()
    assert unpack(found.persons[1].masks_T, film.info.height, film.info.width)[:, 2:42, 2:22].all()
    found = people(nothing, unsure)
    assert len(found.persons) == 1
    assert {doubt.frame for doubt in found.doubts} == set(range(film.info.num_frames))
    assert len(people(nothing, dog).persons) == 1
    assert not people(nothing, dog).doubts
    # ... and whom the skeletons know is one person.
    x0, y0, x1, y1 = boxes.bounding_box(known.bodies[0].keypoints_TL3[0])
    assert len(people(nothing, box_track((x0, y0, x1, y1), film.info.num_frames, votes=10)).persons) == 1


def box_track(box: tuple[float, ...], frames: int, *, votes: int, against: int = 0) -> BoxTrack:
    return BoxTrack(
        start=0,
        boxes_N4=np.tile(np.float64(box), (frames, 1)),
        seen_N=np.ones(frames, bool),
        score_N=np.full(frames, 0.8),
        votes=votes,
        against=against,
    )


def test_samples_listed_as_missing_are_refused(film: Film, tmp_path: Path) -> None:
    write_ntu(tmp_path, film)
    ntu.read(tmp_path, film.info, film.record)
    listed = f"302 of the captured samples have missing skeletons.\n\n{film.name}\n"
    (tmp_path / "NTU_RGBD_samples_with_missing_skeletons.txt").write_text(listed)
    with pytest.raises(UserError, match="listed as missing"):
        ntu.read(tmp_path, film.info, film.record)


def test_gaps_are_filled_or_doubts(film: Film, tmp_path: Path) -> None:
    """A short gap of a skeleton is interpolated; a longer gap, or one at an end, is a doubt."""

    def people(missing: set[int]) -> People:
        path = tmp_path / f"{film.name}.json"
        formats.write_smarthome(path, film.truth)
        stored = json.loads(path.read_text())
        for frame in missing:
            stored["frames"][frame] = []
        path.write_text(json.dumps(stored))
        skeletons = smarthome.read(tmp_path, film.info, film.record)
        return people_of(skeletons, film.info, PoseConfig(max_gap=0.25), None)

    filled = people({4, 5})
    assert not filled.doubts
    assert [person.visible_T.all() for person in filled.persons] == [True, True]
    assert not filled.persons[0].detected_T[[4, 5]].any()
    assert {doubt.frame for doubt in people({3, 4, 5, 6}).doubts} == {3, 4, 5, 6}
    assert {doubt.frame for doubt in people({0, 1, 2}).doubts} == {0, 1}
    assert {doubt.frame for doubt in people({8, 9}).doubts} == {9}


def test_bodies_are_linked_by_where_they_are() -> None:
    rng = np.random.default_rng(0)
    shape = rng.normal(0, 20, (13, 2))
    walks = [np.array([10 * t, 0]) for t in range(8)], [np.array([70 - 10 * t, 90]) for t in range(8)]
    frames = [np.array([shape + walks[p][t] for p in rng.permutation(2)]) for t in range(8)]
    frames[4] = frames[4][:1]
    tracks = linked(frames, gap=2)
    assert len(tracks) == 2
    assert sorted(len(track) for track in tracks) == [7, 8]
    for track in tracks:
        heights = [frames[t][row][:, 1].mean() for t, row in track.items()]
        assert np.ptp(heights) < 1
    assert len(linked(frames[:4] + [np.zeros((0, 13, 2))] * 4 + frames[4:], gap=2)) == 4


class Malicious:
    """Runs a command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.path}",)


def test_pickles_run_nothing(tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    inner = io.BytesIO()
    torch.save({"x": Malicious(trace)}, inner, _use_new_zipfile_serialization=False)

    class Nested:
        def __reduce__(self) -> tuple:
            return torch.storage._load_from_bytes, (inner.getvalue(),)

    def write(dump: object, path: Path) -> Path:
        path.write_bytes(pickle.dumps(dump))
        return path

    np.save(tmp_path / "c.npy", np.array({"frame": Malicious(trace)}, dtype=object), allow_pickle=True)
    files = [
        write({"pose": Malicious(trace)}, tmp_path / "a.pkl"),
        write([Nested()], tmp_path / "b.pkl"),
        tmp_path / "c.npy",
    ]
    with contextlib.suppress(ImportError):
        import joblib

        joblib.dump({"x": np.array([Malicious(trace)], dtype=object)}, tmp_path / "d.pkl")
        files.append(tmp_path / "d.pkl")
    for path in files:
        with pytest.raises(UserError, match=r"refused|damaged") as caught:
            load_plain(path)
        assert str(caught.value).count(". ") == 0
        assert not trace.exists()
    pickle.loads(files[0].read_bytes())  # noqa: S301 — the trap works
    assert trace.exists()


def test_plain_pickles_are_read_as_they_are(tmp_path: Path) -> None:
    dump = {
        "a": [1, "x", 2.5, None, True, {"y"}],
        "b": np.arange(6.0).reshape(2, 3),
        "c": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "d": np.float32(3.5),
        "e": np.array([], np.int64),
        7: {"t": torch.arange(4.0).reshape(2, 2)},
    }
    paths = [tmp_path / f"{protocol}.pkl" for protocol in (2, 4, 5)]
    for path in paths:
        path.write_bytes(pickle.dumps(dump, protocol=int(path.stem)))
    np.save(tmp_path / "dict.npy", dump, allow_pickle=True)
    paths.append(tmp_path / "dict.npy")
    with contextlib.suppress(ImportError):
        import joblib

        for compress in (0, 3):
            paths.append(tmp_path / f"j{compress}.pkl")
            joblib.dump(dump, paths[-1], compress=compress)
    for path in paths:
        read = load_plain(path)
        assert read["a"] == dump["a"]
        for key in "bcde":
            np.testing.assert_array_equal(read[key], dump[key])
            assert np.asarray(read[key]).dtype == np.asarray(dump[key]).dtype
        assert torch.equal(read[7]["t"], dump[7]["t"])


def damaged(film: Film, source: str, folder: Path) -> dict[str, tuple[str, bytes | None]]:
    """Files of a source that are no good: what they are called, and what is in them."""
    write_ntu(folder, film)
    skeleton = (folder / f"{film.name}.skeleton").read_bytes()
    (folder / f"{film.name}.skeleton").unlink()
    write_smarthome(folder, film)
    stored = json.loads((folder / f"{film.name}_pose3d.json").read_text())
    (folder / f"{film.name}_pose3d.json").unlink()
    short = json.dumps({**stored, "frames": stored["frames"][:3]}).encode()
    bad_wham = formats.wham(film.truth)
    bad_wham[0]["trans"] = bad_wham[0]["trans"][:-1]
    behind = formats.wham(film.truth)
    behind[0]["trans"] = -behind[0]["trans"]
    late = formats.wham(film.truth)
    late[0]["frame_ids"] = late[0]["frame_ids"] + 50
    files = {
        "ntu": {
            "missing": (".other", b""),
            "file is truncated": (".skeleton", skeleton[: len(skeleton) // 2]),
            "not a .skeleton": (".skeleton", b"Dear diary"),
            "not 25": (".skeleton", skeleton.replace(b"\n25\n", b"\n20\n")),
            "cover 3 frames": (".skeleton", b"3 0 0 0"),
        },
        "smarthome": {
            "missing": (".other", b""),
            "not a file of Smarthome": (".json", b"{"),
            "is missing": (".json", b"{}"),
            "17 joints": (".json", json.dumps({**stored, "njts": 17}).encode()),
            "reshape": (".json", json.dumps({"frames": [[{"pose2d": [1], "pose3d": []}]]}).encode()),
            "cover 3 frames": (".json", short),
        },
        "smpl": {
            "missing": (".other", b""),
            "not a pickle": (".pkl", b"Dear diary"),
            "damaged": (".pkl", pickle.dumps(formats.wham(film.truth))[:500]),
            "dictionary": (".pkl", pickle.dumps([1, 2])),
            "no 'tid'": (".pkl", pickle.dumps({0: {"pose": 1}})),
            "differ in length": (".pkl", pickle.dumps(bad_wham)),
            "behind the camera": (".pkl", pickle.dumps(behind)),
            "in frame 59": (".pkl", pickle.dumps(late)),
            "not an npz": (".npz", b"Dear diary"),
            "not a torch file": (".pt", b"Dear diary"),
        },
    }
    return files[source]


@pytest.mark.parametrize("source", ["ntu", "smarthome", "smpl"])
def test_files_that_are_no_good_are_one_sentence(source: str, film: Film, tmp_path: Path) -> None:
    for number, (reason, (suffix, content)) in enumerate(damaged(film, source, tmp_path).items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / f"{film.name}{suffix}").write_bytes(content or b"")
        find = pose_source(PoseConfig(source=source, skeletons=folder, veto=False))
        match = "no skeletons of v" if reason == "missing" else reason
        with pytest.raises(UserError, match=match) as caught:
            find(iter(()), film.info, film.record)
        assert "\n" not in str(caught.value)


def test_sources_are_checked_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"pose\.source must be one of mediapipe, ntu, smarthome, smpl"):
        AnonymizeConfig(pose=PoseConfig(source="kinect"))
    with pytest.raises(UserError, match=r"pose\.skeletons=DIR"):
        AnonymizeConfig(pose=PoseConfig(source="ntu"))
    with pytest.raises(UserError, match="reads no files; name their source"):
        AnonymizeConfig(pose=PoseConfig(skeletons=tmp_path))
    with pytest.raises(UserError, match="does not exist"):
        pose_source(PoseConfig(source="ntu", skeletons=tmp_path / "nowhere"))


def test_an_installed_package_brings_its_own_source(
    film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mocap-1.0.dist-info").mkdir()
    (tmp_path / "mocap-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: mocap\nVersion: 1.0\n"
    )
    (tmp_path / "mocap-1.0.dist-info" / "entry_points.txt").write_text(
        "[raymaskdp.pose_sources]\nmocap = mocap_of_ours:source\n"
    )
    (tmp_path / "mocap_of_ours.py").write_text(
        "from raymaskdp.anonymize.people.sources.skeletons import FromFiles\n"
        "from raymaskdp.anonymize.people.sources import ntu\n"
        "def source(config):\n"
        "    return FromFiles(config, ntu.read)\n"
    )
    assert "mocap" not in SOURCES
    monkeypatch.syspath_prepend(str(tmp_path))
    assert SOURCES.names()[-1] == "mocap"
    write_ntu(tmp_path, film)
    config = AnonymizeConfig(pose=PoseConfig(source="mocap", skeletons=tmp_path, veto=False))
    people = pose_source(config.pose)(iter(()), film.info, film.record)
    assert len(people.persons) == 2


def test_frames_are_not_decoded_where_nobody_looks(film: Film, tmp_path: Path) -> None:
    write_smarthome(tmp_path, film)
    find = pose_source(PoseConfig(source="smarthome", skeletons=tmp_path, veto=False))
    frames = itertools.repeat(np.zeros((1, 1, 3), np.uint8))
    assert len(find(frames, film.info, film.record).persons) == 2
