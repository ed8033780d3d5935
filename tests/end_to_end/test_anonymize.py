"""The command on real files: sample videos with known truth, broken files, and crashes on the way."""

import dataclasses
import itertools
import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from support.onnx_files import linear

from raymaskdp.anonymize import AnonymizeConfig, AnonymizeResult, anonymize
from raymaskdp.anonymize.people import boxes
from raymaskdp.anonymize.verify.look_again import LookAgain
from raymaskdp.datasets.manifest import VideoRecord, write_table
from raymaskdp.errors import UserError
from raymaskdp.files import sha256_file
from raymaskdp.synthetic.config import SynthesizeConfig
from raymaskdp.synthetic.synthesize import synthesize
from raymaskdp.video.masks import unpack
from raymaskdp.video.reader import probe, stream
from raymaskdp.video.writer import VideoWriter

pytestmark = pytest.mark.slow

BROKEN = {
    "missing": "does not exist",
    "empty": "empty",
    "diary": "not a video",
    "truncated": "truncated",
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six sample videos and four broken files in one manifest."""
    folder = tmp_path_factory.mktemp("source")
    synthesize(folder, SynthesizeConfig(people=3, actions=("wave", "jumping_jack"), frames=10, rooms=3))
    table = pd.read_parquet(folder / "manifest.parquet")
    records = [
        VideoRecord(**{**row, "path": str(folder / row["path"])})
        for row in table[["video_id", "path", "label", "split", "subject", "camera"]].to_dict("records")
    ]
    good = Path(records[0].path).read_bytes()
    videos = folder / "videos"
    (videos / "empty.mp4").write_bytes(b"")
    (videos / "diary.mp4").write_text("Dear diary, this is no video.\n" * 99)
    (videos / "truncated.mp4").write_bytes(good[: len(good) // 2])
    records += [VideoRecord(video_id=name, path=str(videos / f"{name}.mp4")) for name in BROKEN]
    write_table(folder / "manifest.parquet", records)
    return folder


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> AnonymizeConfig:
    """No Ray, and a fixed secret, so that runs can be compared byte by byte."""
    secret = tmp_path_factory.mktemp("secret") / "secret"
    secret.write_bytes(bytes(range(32)))
    return AnonymizeConfig(workers=0, secret_file=secret)


@pytest.fixture(scope="module")
def result(
    source: Path, config: AnonymizeConfig, tmp_path_factory: pytest.TempPathFactory
) -> AnonymizeResult:
    """One run over everything."""
    return anonymize(source, tmp_path_factory.mktemp("run") / "out", config, progress=False)


def files(out: Path) -> dict[str, str]:
    """Digests of all videos and poses in an output folder."""
    return {p.name: sha256_file(p) for p in sorted(out.iterdir()) if p.suffix in (".mp4", ".npz")}


def test_every_video_has_a_verdict(result: AnonymizeResult, source: Path) -> None:
    assert len(result.rows) == 10
    assert result.failed == len(BROKEN)
    assert result.done == 6
    by_id = {row.video_id: row for row in result.rows}
    for name, reason in BROKEN.items():
        assert by_id[name].status == "failed"
        assert reason in by_id[name].reason
    assert {row.reason for row in result.rows if row.status == "done"} == {""}
    assert all(row.reason for row in result.rows if row.status != "done")
    table = pd.read_parquet(result.out / "manifest.parquet")
    assert sorted(table.video_id) == sorted(by_id)


def test_only_proven_videos_leave_files(result: AnonymizeResult) -> None:
    done = {row.video_id for row in result.rows if row.status == "done"}
    expected = {f"{name}{suffix}" for name in done for suffix in (".mp4", ".avatar.mp4", ".npz", ".json")}
    assert {path.name for path in result.out.iterdir()} == expected | {"manifest.parquet"}
    beside = [path for path in result.out.parent.iterdir() if path != result.out]
    # The working folder is gone, the secret is where it was asked to be, and plates are for their owner.
    assert [path.name for path in beside] == [".out.plates"]
    assert beside[0].stat().st_mode & 0o077 == 0


def test_outputs_keep_size_rate_and_length(result: AnonymizeResult, source: Path) -> None:
    for row in result.rows:
        if row.status == "done":
            before, after = probe(row.source), probe(result.out / str(row.path))
            layer = probe(result.out / f"{row.video_id}.avatar.mp4")
            for name in ("width", "height", "fps", "num_frames"):
                assert getattr(before, name) == getattr(after, name) == getattr(layer, name)


def test_nobody_is_left(result: AnonymizeResult, source: Path) -> None:
    """Against the truth: where a person was, and no avatar is, the output shows the room behind."""
    for row in result.rows:
        if row.status != "done":
            continue
        with np.load(source / "truth" / f"{row.video_id}.npz") as truth:
            person_TB = truth["masks"]
        clean = cv2.imread(str(source / "truth" / f"{row.video_id}.background.png"))[..., ::-1]
        with np.load(result.out / f"{row.video_id}.npz") as written:
            removed_TB, avatar_TB = written["person_masks"], written["avatar_masks"]
        pairs = zip(stream(row.source), stream(result.out / str(row.path)), strict=True)
        for index, (before, after) in enumerate(pairs):
            person, removed, avatar = (
                unpack(packed[index], row.height, row.width) for packed in (person_TB, removed_TB, avatar_TB)
            )
            assert not (person & ~removed).any(), (row.video_id, index)
            # One pixel of room for the codec, which smears the avatar's outline.
            bare = person & ~cv2.dilate(avatar.astype(np.uint8), np.ones((5, 5))).astype(bool)
            seen, real, room = (picture.astype(int)[bare] for picture in (after, before, clean))
            distinct = np.abs(real - room).max(axis=1) > 60
            like_person = np.abs(seen - real).max(axis=1) < 15
            assert (distinct & like_person).sum() <= 0.01 * max(100, distinct.sum()), (row.video_id, index)


def test_poses_and_layers_fit_together(result: AnonymizeResult) -> None:
    for row in result.rows:
        if row.status != "done":
            continue
        with np.load(result.out / f"{row.video_id}.npz") as written:
            people, frames = written["rotations"].shape[:2]
            assert (people, frames) == (row.num_people, row.num_frames)
            assert written["rotations"].shape == (people, frames, 52, 3)
            assert written["translation"].shape == (people, frames, 3)
            assert written["betas"].shape == (people, 10)
            assert written["visible"].shape == (people, frames)
            assert written["camera"].shape == (3, 3)
            avatar_TB = written["avatar_masks"]
        for index, layer in enumerate(stream(result.out / f"{row.video_id}.avatar.mp4")):
            coverage = unpack(avatar_TB[index], row.height, row.width)
            assert not layer[~coverage].any()
            assert coverage.any()


def test_figures_are_in_the_manifest(result: AnonymizeResult) -> None:
    for row in result.rows:
        if row.status == "done":
            metrics = json.loads(row.metrics)
            assert metrics["surviving_pixels"] == 0
            assert metrics["background_psnr"] >= 38
            assert 0 < metrics["avatar_fraction"] < 0.5
            assert metrics["truth"]["mask_recall"] > 0.97
            provenance = json.loads((result.out / f"{row.video_id}.json").read_text())
            assert len(provenance["frames"]["avatars"]) == row.num_frames


def test_one_avatar_a_subject(result: AnonymizeResult) -> None:
    """The same person gets the same body in every video, and different people different ones."""
    shapes: dict[str, set[bytes]] = {}
    for row in result.rows:
        if row.status == "done":
            with np.load(result.out / f"{row.video_id}.npz") as written:
                shapes.setdefault(str(row.subject), set()).add(written["betas"][0].tobytes())
    assert all(len(bodies) == 1 for bodies in shapes.values())
    assert len(set.union(*shapes.values())) == len(shapes)


def test_a_second_run_does_nothing(result: AnonymizeResult, source: Path, config: AnonymizeConfig) -> None:
    stamps = {
        path.name: path.stat().st_mtime_ns for path in result.out.iterdir() if path.suffix != ".parquet"
    }
    again = anonymize(source, result.out, config, progress=False)
    assert again.reused == 6  # all but the failures
    assert [(row.video_id, row.status) for row in again.rows] == [(r.video_id, r.status) for r in result.rows]
    assert {path.name: path.stat().st_mtime_ns for path in result.out.glob("*.[!p]*")} == stamps


def test_a_stricter_setting_withdraws_what_it_refuses(
    result: AnonymizeResult, source: Path, config: AnonymizeConfig, tmp_path: Path
) -> None:
    """What no longer passes leaves no file behind."""
    row = next(row for row in result.rows if row.status == "done")
    out = tmp_path / "out"
    shutil.copytree(result.out, out)
    answer = np.zeros((1, 5, 21), np.float32)
    answer[0, :, 0] = (16, 16, 8, 8, 0.9)  # a detector that reports a person even in a blank frame
    (tmp_path / "alarm.onnx").write_bytes(
        linear(np.zeros((*answer.shape, 3, 32, 32), np.float32), answer, 32)
    )
    verify = dataclasses.replace(config.verify, detector=tmp_path / "alarm.onnx", detector_side=32)
    outcome = anonymize(row.source, out, dataclasses.replace(config, verify=verify), progress=False)
    assert outcome.quarantined == 1
    assert "100% of the frames are blank" in outcome.rows[0].reason
    assert not list(out.glob(f"{row.video_id}.*"))
    assert len(pd.read_parquet(out / "manifest.parquet")) == len(result.rows)  # the others are kept


@pytest.mark.cluster
def test_ray_makes_the_same_bytes_through_a_killed_worker(
    ray_session: None, result: AnonymizeResult, source: Path, config: AnonymizeConfig, tmp_path: Path
) -> None:
    """Two workers, one of which is killed on the way: everything as in an undisturbed run."""
    import psutil

    killed: list[int] = []

    def kill_one() -> None:
        until = time.monotonic() + 300
        while not killed and time.monotonic() < until:
            workers = [
                process.pid
                for process in psutil.process_iter(["pid", "name", "cmdline"])
                if "MapWorker" in " ".join(process.info["cmdline"] or ()) and process.ppid() in ours()
            ]
            if workers and list((tmp_path / "out").glob("*.json")):
                os.kill(workers[0], signal.SIGKILL)
                killed.append(workers[0])
            time.sleep(0.05)

    def ours() -> set[int]:
        return {child.pid for child in psutil.Process().children(recursive=True)}

    killer = threading.Thread(target=kill_one)
    killer.start()
    outcome = anonymize(source, tmp_path / "out", dataclasses.replace(config, workers=2), progress=False)
    killer.join()
    assert killed
    assert files(outcome.out) == files(result.out)
    verdicts = [(row.video_id, row.status, row.reason) for row in result.rows]
    assert [(row.video_id, row.status, row.reason) for row in outcome.rows] == verdicts


def test_two_runs_do_not_share_a_folder(
    result: AnonymizeResult, source: Path, config: AnonymizeConfig
) -> None:
    import fcntl

    handle = os.open(result.out, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="Another run"):
            anonymize(source, result.out, config, progress=False)
    finally:
        os.close(handle)


def test_missing_source_is_one_sentence(tmp_path: Path, config: AnonymizeConfig) -> None:
    with pytest.raises(UserError, match="does not exist"):
        anonymize(tmp_path / "nowhere", tmp_path / "out", config)
    assert not (tmp_path / "out").exists()


def test_the_secret_is_private_and_kept(tmp_path: Path, source: Path) -> None:
    diary = source / "videos" / "diary.mp4"
    contents = set()
    for _ in range(2):
        anonymize(diary, tmp_path / "out", AnonymizeConfig(workers=0), progress=False)
        (secret,) = tmp_path.glob(".out.secret")
        assert secret.stat().st_mode & 0o777 == 0o600
        contents.add(secret.read_bytes())
    assert [len(content) for content in contents] == [32]


def test_real_people_are_replaced(shared_videos: Path, config: AnonymizeConfig, tmp_path: Path) -> None:
    """Excerpts of real clips: a person far away, and a face that fills the frame."""
    cuts = {"S001C001P001R001A001_rgb.avi": "far", "v_ApplyEyeMakeup_g01_c01.avi": "close"}
    (tmp_path / "in").mkdir()
    for name, cut in cuts.items():
        info = probe(shared_videos / name)
        height = 270 if cut == "far" else info.height
        width = 2 * round(info.width * height / info.height / 2)
        with VideoWriter(tmp_path / "in" / f"{cut}.mp4", width=width, height=height, fps=info.fps) as writer:
            for frame in itertools.islice(stream(shared_videos / name), 16):
                writer.write(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA))
    outcome = anonymize(tmp_path / "in", tmp_path / "out", config, progress=False)
    rows = {row.video_id: row for row in outcome.rows}
    assert rows["far"].status == "done", rows["far"].reason
    with np.load(tmp_path / "out" / "far.npz") as written:
        removed_TB = written["person_masks"]
    before, after = (np.stack(list(stream(tmp_path / side / "far.mp4"))) for side in ("in", "out"))
    removed = unpack(removed_TB, 270, 480)
    assert 0.02 < removed.mean() < 0.1  # she is about this large, and the rest of the room stays
    shirt = removed & (before.max(axis=-1) < 40)  # black, in front of a white wall
    assert shirt.sum() > 16 * 300
    assert np.abs(after.astype(int) - before)[shirt].max(axis=-1).mean() > 30

    assert rows["close"].status == "done", rows["close"].reason
    with np.load(tmp_path / "out" / "close.npz") as written:
        removed_TB = written["person_masks"]
    look = LookAgain(config.verify)
    pairs = zip(stream(tmp_path / "in/close.mp4"), stream(tmp_path / "out/close.mp4"), strict=True)
    for index, (before_HW3, after_HW3) in enumerate(pairs):
        face_N5 = look.faces(before_HW3)
        assert len(face_N5), index
        height, width = before_HW3.shape[:2]
        x0, y0, x1, y1 = boxes.clip_to_frame(face_N5[face_N5[:, 4].argmax()], height=height, width=width)
        assert unpack(removed_TB[index], height, width)[y0:y1, x0:x1].mean() > 0.97, index
        changed = np.abs(after_HW3.astype(int) - before_HW3)[y0:y1, x0:x1].max(-1)
        assert np.median(changed) > 20, index

    careful = dataclasses.replace(config, on_doubt="quarantine")
    outcome = anonymize(tmp_path / "in", tmp_path / "careful", careful, progress=False)
    rows = {row.video_id: row for row in outcome.rows}
    assert rows["far"].status == "done"
    assert rows["close"].status == "quarantined"  # her shoulders come and go
    assert "no body can be fitted" in rows["close"].reason
    assert not list((tmp_path / "careful").glob("close.*"))
