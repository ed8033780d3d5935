"""A machine that fails everything at once costs no video: it tests itself, and others do its work."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from support.field_films import Films
from support.formats import Truth, write_amass

from raymaskdp.anonymize import AnonymizeConfig
from raymaskdp.anonymize.object_store import StoreStages
from raymaskdp.anonymize.output.secret import SecretFile
from raymaskdp.anonymize.self_test import known_item
from raymaskdp.anonymize.stages import Analyze, Job, Synthesize
from raymaskdp.errors import UserError
from raymaskdp.video.sandbox import DecodeLimits

VIDEOS = 12
NO_EGL = {"__EGL_VENDOR_LIBRARY_FILENAMES": "/none.json"}


@pytest.fixture
def many(films: Films, tmp_path: Path) -> tuple[Path, Path]:
    """A folder of films, and one of their poses."""
    source, poses = tmp_path / "source", tmp_path / "poses"
    poses.mkdir()
    names = [f"v{number:02}" for number in range(VIDEOS)]
    films.put(*(source / f"{name}.mp4" for name in names))
    for number, name in enumerate(names):
        path = (films.a, films.b)[number % 2]
        write_amass(poses / f"{name}.npz", Truth(path.parents[1] / "truth" / f"{path.stem}.npz"))
    return source, poses


def without_ray_address() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}


@pytest.mark.slow
@pytest.mark.cluster
def test_a_node_without_egl_costs_no_video(many: tuple[Path, Path], tmp_path: Path) -> None:
    """It fails a video in no time, and the other node takes its time: it would fail nearly all of them."""
    (tmp_path / "secret").write_bytes(bytes(32))
    program = Path(__file__).parents[1] / "support" / "node_without_egl.py"
    done = subprocess.run(
        [sys.executable, program, many[0], tmp_path / "out", many[1], tmp_path / "secret"],
        env=without_ray_address(),
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = json.loads(done.stdout.splitlines()[-1])
    assert {status for _, status, _ in rows} == {"done"}, rows
    assert len(rows) == VIDEOS


@pytest.mark.slow
@pytest.mark.cluster
def test_where_no_machine_can_draw_the_run_ends_in_a_sentence(
    many: tuple[Path, Path], tmp_path: Path
) -> None:
    command = [
        sys.executable,
        "-m",
        "raymaskdp",
        "anonymize",
        many[0],
        "--out",
        tmp_path / "out",
        "workers=1",
    ]
    command += ["pose.source=smpl", f"pose.skeletons={many[1]}", "pose.veto=false"]
    done = subprocess.run(
        list(map(str, command)),
        env=without_ray_address() | NO_EGL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "Every worker fails (OpenGL cannot be started" in done.stderr
    assert "Traceback" not in done.stderr
    table = tmp_path / "out/manifest.parquet"
    assert not table.exists() or not len(pd.read_parquet(table))  # no video is called failed


def carried(folder: Path) -> StoreStages:
    (folder / "work").mkdir()
    job = Job(out=folder, work=folder / "work", secret=SecretFile.at(folder / "secret"))
    return StoreStages((Analyze, Synthesize), AnonymizeConfig(), job)


@pytest.mark.slow
def test_a_machine_in_order_passes_and_leaves_nothing(tmp_path: Path) -> None:
    work = carried(tmp_path)
    work.self_test()
    work.self_test()
    assert {path.name for path in tmp_path.iterdir()} == {"secret", "work"}
    assert not list((tmp_path / "work").iterdir())


def test_a_machine_that_does_not_see_the_run_s_folder_fails(tmp_path: Path) -> None:
    work = carried(tmp_path)
    shutil.rmtree(tmp_path / "work")
    with pytest.raises(FileNotFoundError):
        work.self_test()


def test_a_decoder_that_refuses_fails(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"decode\.megapixels"):
        known_item(tmp_path, DecodeLimits(megapixels=0.001))
