"""A hundred videos, a fifth of them broken in eleven ways, on a cluster that falls apart meanwhile."""

import dataclasses
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
from support.films import bomb
from support.formats import Truth, write_amass

from raymaskdp.anonymize import AnonymizeConfig, anonymize
from raymaskdp.anonymize.output.manifest import DATA_SUFFIXES
from raymaskdp.anonymize.people.config import PoseConfig
from raymaskdp.anonymize.verify.config import VerifyConfig
from raymaskdp.datasets.manifest import VideoRecord, read_source, write_table
from raymaskdp.files import MADE, sha256_file
from raymaskdp.synthetic.config import SynthesizeConfig
from raymaskdp.synthetic.synthesize import synthesize

FILMS, GOOD, BROKEN = 4, 78, 22
REASONS = {
    "missing": "does not exist",
    "empty": "is empty",
    "diary": "is not a video",
    "noise": "is not a video",
    "half": "truncated",
    "holed": "damaged",
    "folder": "is a folder",
    "sound": "has no video stream",
    "unposed": "There are no skeletons",
    "bomb": "longer than decode.seconds=2",
    "misposed": "a format that is not supported",
}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four small films of two people before one camera, with their poses in the folder `poses`."""
    folder = tmp_path_factory.mktemp("films")
    synthesize(
        folder,
        SynthesizeConfig(
            seed=1, people=2, actions=("wave", "walk"), rooms=1, cameras=1, frames=6, width=96, height=72
        ),
    )
    (folder / "poses").mkdir()
    for path in (folder / "truth").glob("*.npz"):
        write_amass(folder / "poses" / path.name, Truth(path))
    return folder


def broken(folder: Path, films: Path) -> list[VideoRecord]:
    """Two videos broken in each way."""
    film = next(films.glob("videos/*.mp4"))
    whole, draw = film.read_bytes(), random.Random(0)
    records = []
    for way in REASONS:
        for number in range(BROKEN // len(REASONS)):
            path = folder / f"{way}{number}.mp4"
            records.append(VideoRecord(video_id=path.stem, path=str(path)))
            (films / "poses" / f"{path.stem}.npz").write_bytes(b"no poses" if way == "misposed" else b"")
            if way == "unposed":
                (films / "poses" / f"{path.stem}.npz").unlink()
            middle = len(whole) // 2
            contents = {
                "empty": b"",
                "diary": b"Dear diary, this is no video.\n" * (50 + number),
                "noise": draw.randbytes(5000),
                "half": whole[: middle + number],
                "holed": whole[: middle - 400] + draw.randbytes(800) + whole[middle + 400 :],
                "unposed": whole,
                "misposed": whole,
            }
            if way == "folder":
                path.mkdir()
            elif way == "sound":
                sing(path)
            elif way == "bomb":
                bomb(path)
            elif way in contents:
                path.write_bytes(contents[way])
    return records


def sing(path: Path) -> None:
    """A second of sound in a container of videos."""
    with av.open(str(path), "w") as container:
        audio = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))


@pytest.mark.slow
@pytest.mark.cluster
def test_good_videos_survive_bad_ones_and_lost_machines(films: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(32))
    pose = PoseConfig(source="smpl", skeletons=films / "poses", veto=False)
    four = [dataclasses.replace(record, camera=None) for record in read_source(films)]
    write_table(films / "manifest.parquet", four)
    calm = anonymize(
        films,
        tmp_path / "calm",
        AnonymizeConfig(pose=pose, verify=VerifyConfig(look_again=False), workers=0, secret_file=secret),
        progress=False,
    )
    assert calm.done == FILMS

    # Every film is done twenty times, under other names, between the broken videos.
    good = [dataclasses.replace(four[number % FILMS], video_id=f"good{number:02d}") for number in range(GOOD)]
    records = [*good, *broken(tmp_path, films)]
    random.Random(1).shuffle(records)
    write_table(tmp_path / "manifest.parquet", records)
    program = Path(__file__).parents[1] / "support" / "faulty_cluster.py"
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, program, tmp_path / "manifest.parquet", out, films / "poses", secret],
        env={name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    killed = json.loads(done.stdout.splitlines()[-1])
    assert [name for name, _ in killed] == ["kill_actor", "kill_worker", "kill_node"]
    assert killed[-1][1] < GOOD  # all on the way

    table = pd.read_parquet(out / "manifest.parquet").set_index("video_id")
    assert sorted(table.index) == sorted(record.video_id for record in records)
    assert (table.status[[record.video_id for record in good]] == "done").all()
    names = {f"{record.video_id}{suffix}" for record in good for suffix in (*DATA_SUFFIXES, ".json")}
    assert {path.name for path in out.iterdir()} == names | {"manifest.parquet"}
    for number, record in enumerate(good):
        for suffix in DATA_SUFFIXES:
            undisturbed = tmp_path / "calm" / f"{four[number % FILMS].video_id}{suffix}"
            assert sha256_file(out / f"{record.video_id}{suffix}") == sha256_file(undisturbed), record
    failures = table[table.status == "failed"]
    assert len(failures) == BROKEN
    for video_id, reason in failures.reason.items():
        assert REASONS[str(video_id).rstrip("01")] in reason, (video_id, reason)
    hidden = {path.name for path in tmp_path.iterdir() if path.name.startswith(".")}
    assert hidden <= {MADE}  # the list of files written here; nothing unfinished
