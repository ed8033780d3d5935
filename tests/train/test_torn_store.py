"""A clip store whose arrays do not match its table is refused: other masks would hide nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from support.samples import write_anonymized

from raymaskdp.datasets.manifest import read_source
from raymaskdp.errors import UserError
from raymaskdp.train import ClipStore, PrepareConfig, TrainConfig, prepare, train
from raymaskdp.train.config import ComputeConfig, PrivacyConfig
from raymaskdp.train.data.clip_sources import find_sources

SIZE = PrepareConfig(width=32, height=24, token=2)
KILLED = """
import os, signal, sys
from pathlib import Path
from raymaskdp.train import PrepareConfig, prepare
module = sys.modules["raymaskdp.train.preparation"]
write = module.write_array
def write_and_die(path, array):
    write(path, array)
    os.kill(os.getpid(), signal.SIGKILL)
module.write_array = write_and_die
prepare(Path(sys.argv[1]), Path(sys.argv[2]), PrepareConfig(width=32, height=24, token=2))
"""


@pytest.fixture
def stores(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Outputs, the clip store of them, and outputs of the same sources with other pictures."""
    first = write_anonymized(tmp_path / "first", train=4, test=2, seed=0)
    other = write_anonymized(tmp_path / "other", train=4, test=2, seed=1)
    prepare(first, tmp_path / "clips", SIZE)
    return first, tmp_path / "clips", other


def kill_in_between(source: Path, store: Path) -> None:
    """Prepare anew, and kill it when the first array is written."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(source), str(store)], check=False, capture_output=True
    )
    assert done.returncode == -9, done.stderr.decode()


def everything(store: ClipStore) -> None:
    for video in store.videos:
        store.read(video.index, np.arange(video.num_frames))


def test_a_killed_prepare_leaves_a_store_that_nobody_reads_and_that_is_mended(
    stores: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    first, clips, other = stores
    everything(ClipStore.open(clips))
    kill_in_between(other, clips)
    with pytest.raises(UserError, match=r"is not what the clip store .* lists"):
        everything(ClipStore.open(clips))
    config = TrainConfig(
        data=clips,
        out=tmp_path / "runs",
        steps=2,
        privacy=PrivacyConfig(mechanism="maskdp", epsilon=2.0, expected_batch=2),
        compute=ComputeConfig(workers=0, progress=False, tensorboard=False),
    )
    with pytest.raises(UserError, match=r"is not what the clip store .* lists"):
        train(config)
    prepare(first, clips, SIZE)
    everything(ClipStore.open(clips))


def test_what_is_replaced_while_it_is_read_is_noticed(stores: tuple[Path, Path, Path]) -> None:
    _, clips, other = stores
    store = ClipStore.open(clips)
    everything(store)
    kill_in_between(other, clips)
    with pytest.raises(UserError, match="end what reads the store"):
        everything(store)


def test_a_missing_array_is_a_sentence(stores: tuple[Path, Path, Path]) -> None:
    _, clips, _ = stores
    store = ClipStore.open(clips)
    (clips / "clips" / f"{store.videos[0].video_id}.masks.npy").unlink()
    with pytest.raises(UserError, match=r"Cannot read .*masks\.npy"):
        store.fetch(store.videos)


def test_a_table_without_its_description_is_of_no_store(stores: tuple[Path, Path, Path]) -> None:
    """As a prepare leaves it that is killed between the two last files."""
    _, clips, other = stores
    before = (clips / "store.json").read_bytes()
    shutil.rmtree(clips / "clips")
    (clips / "store.json").unlink()
    (clips / "videos.parquet").unlink()
    prepare(other, clips, SIZE)
    ClipStore.open(clips)
    (clips / "store.json").write_bytes(before)
    with pytest.raises(UserError, match="is not the one that prepare finished with"):
        ClipStore.open(clips)


def test_a_lock_that_is_none_is_a_sentence(stores: tuple[Path, Path, Path]) -> None:
    first, clips, _ = stores
    (clips / "clips" / ".lock").unlink(missing_ok=True)
    (clips / "clips" / ".lock").mkdir()
    with pytest.raises(UserError, match="Cannot lock"):
        prepare(first, clips, SIZE)


def test_two_do_not_prepare_one_store(stores: tuple[Path, Path, Path]) -> None:
    first, clips, _ = stores
    with FileLock(clips / "clips" / ".lock"), pytest.raises(UserError, match="prepared by another process"):
        prepare(first, clips, SIZE)
    assert prepare(first, clips, SIZE).reused == 6


def test_a_table_of_ones_own_may_have_a_column_status(tmp_path: Path) -> None:
    source = write_anonymized(tmp_path / "made", train=1, test=0)
    folder = tmp_path / "own"
    folder.mkdir()
    shutil.copyfile(source / "v000.mp4", folder / "a.mp4")
    pd.DataFrame([{"path": "a.mp4", "status": "good"}]).to_parquet(folder / "manifest.parquet")
    (found,), left_out = find_sources(folder)
    assert (Path(found.record.path).name, found.anonymized, left_out) == ("a.mp4", None, 0)
    pd.DataFrame([{"path": "a.mp4", "status": "", "source_sha256": "", "config_sha256": ""}]).to_parquet(
        folder / "manifest.parquet"
    )
    with pytest.raises(UserError, match="is the manifest of an output folder"):
        find_sources(folder)  # neither the one nor the other: a sentence


def test_a_name_written_in_two_ways_of_unicode_is_one_person(tmp_path: Path) -> None:
    table = tmp_path / "videos.csv"
    table.write_text(
        "path,subject,label\na.mp4,Jos\u00e9,caf\u00e9\nb.mp4,Jose\u0301,cafe\u0301\n", encoding="utf-8"
    )
    one, other = read_source(table)
    assert (one.subject, one.label) == (other.subject, other.label) == ("Jos\u00e9", "caf\u00e9")
    assert replace(one, subject="A\u030a").subject == "\u00c5"
    assert PrepareConfig(classes=("cafe\u0301",)).classes == ("caf\u00e9",)
