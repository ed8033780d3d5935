"""Anonymizing from an object store to an object store: complete or absent there, and nothing is redone."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from object_store import BUCKET, served
from support.formats import Truth, write_amass

from raymaskdp import cli, events, storage
from raymaskdp.anonymize import AnonymizeConfig, AnonymizeResult, anonymize
from raymaskdp.anonymize.item import Decided, Item, Pending
from raymaskdp.anonymize.object_store import StoreStages
from raymaskdp.anonymize.output import decisions, manifest
from raymaskdp.anonymize.output.secret import SecretFile
from raymaskdp.anonymize.people.config import PoseConfig
from raymaskdp.anonymize.pipeline import SPLIT, operators
from raymaskdp.anonymize.pools import PoolConfig, PoolsConfig
from raymaskdp.anonymize.stages import Job
from raymaskdp.anonymize.verify.config import VerifyConfig
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.errors import UserError
from raymaskdp.files import sha256_file
from raymaskdp.synthetic.config import SynthesizeConfig
from raymaskdp.synthetic.synthesize import synthesize

SOURCE, OUT = f"{BUCKET}/films", f"{BUCKET}/released"


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two films on the store, as in the folder, with a broken one; poses in the folder `poses`."""
    folder = tmp_path_factory.mktemp("films")
    config = SynthesizeConfig(
        seed=1, people=2, actions=("wave",), rooms=1, cameras=1, frames=6, width=96, height=72
    )
    synthesize(folder, config)
    (folder / "poses").mkdir()
    with served():
        for path in (folder / "videos").glob("*.mp4"):
            write_amass(folder / "poses" / f"{path.stem}.npz", Truth(folder / "truth" / f"{path.stem}.npz"))
            storage.publish(path, f"{SOURCE}/{path.name}")
        storage.write(f"{SOURCE}/diary.mp4", b"Dear diary, this is no video.\n" * 50)
        yield folder


@pytest.fixture
def run(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    (films / "secret").write_bytes(bytes(32))
    pose = PoseConfig(source="smpl", skeletons=films / "poses", veto=False)
    verify = VerifyConfig(look_again=False)
    settings = AnonymizeConfig(pose=pose, verify=verify, workers=0, secret_file=films / "secret")

    def go(source: str | Path = SOURCE, out: str | Path = OUT) -> AnonymizeResult:
        return anonymize(source, out, settings, progress=False)

    return go


@pytest.mark.slow
def test_from_store_to_store(run, films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = run()
    assert (first.done, first.failed, first.reused) == (2, 1, 0), str(first)
    broken = next(row for row in first.rows if row.status == "failed")
    assert f"{SOURCE}/diary.mp4 is not a video" in broken.reason
    good = [row.video_id for row in first.rows if row.status == "done"]
    published = storage.versions(OUT)
    names = {f"{name}{suffix}" for name in good for suffix in (*manifest.DATA_SUFFIXES, ".json")}
    assert published.keys() == names | {manifest.MANIFEST}  # and nothing private
    assert list((tmp_path / "scratch").iterdir()) == []  # nothing is left of the copies

    # The same bytes as from folder to folder, and rows that know only URLs.
    local = run(films / "videos", tmp_path / "local")
    assert local.done == 2
    copied = storage.mirror(OUT)
    for name in good:
        for suffix in manifest.DATA_SUFFIXES:
            assert sha256_file(copied / f"{name}{suffix}") == sha256_file(
                tmp_path / "local" / f"{name}{suffix}"
            )
        assert json.loads((copied / f"{name}.json").read_text())["row"]["source"] == f"{SOURCE}/{name}.mp4"
    assert set(pd.read_parquet(copied / manifest.MANIFEST).source) == {row.source for row in first.rows}
    assert os.environ["AWS_SECRET_ACCESS_KEY"].encode() not in b"".join(
        path.read_bytes() for path in copied.rglob("*") if path.is_file()
    )

    # Nothing is redone, even if the manifest is lost; a failed video is tried again.
    storage.remove(f"{OUT}/{manifest.MANIFEST}")
    again = run()
    assert (again.done, again.reused) == (2, 2)
    assert {name: v for name, v in storage.versions(OUT).items() if name in names} == {
        name: published[name] for name in names
    }

    # Outputs that were damaged, and sources that changed, are done again.
    storage.write(f"{OUT}/{good[0]}.avatar.mp4", b"damaged")
    storage.publish(films / "videos" / f"{good[0]}.mp4", f"{SOURCE}/{good[1]}.mp4")
    healed = run()
    assert healed.reused == 0
    assert storage.versions(OUT)[f"{good[0]}.avatar.mp4"] == published[f"{good[0]}.avatar.mp4"]

    assert cli.main(["status", OUT]) == 0
    assert f"{OUT}: anonymize, 3 videos" in capsys.readouterr().out
    assert cli.main(["review", OUT]) == 2
    assert "copy the folder here" in capsys.readouterr().err


@pytest.mark.slow
def test_a_manifest_of_urls_to_a_folder(
    run, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = next((films / "videos").glob("*.mp4")).stem
    storage.publish(films / "videos" / f"{name}.mp4", f"{BUCKET}/one/{name}.mp4")
    (tmp_path / "m.csv").write_text(f"path,video_id\n{BUCKET}/one/{name}.mp4,a\n")
    out = tmp_path / "out"
    monkeypatch.setenv(events.VARIABLE, "json")
    capsys.readouterr()
    assert run(tmp_path / "m.csv", out).done == 1
    logged = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in logged] == ["anonymize begins", "video", "anonymize ends"]
    assert logged[1].keys() == {"time", "event", "video_id", "status", "frames", "seconds"}
    assert (logged[1]["video_id"], logged[1]["frames"], logged[2]["done"]) == ("a", 6, 1)
    monkeypatch.delenv(events.VARIABLE)
    assert run(tmp_path / "m.csv", out).reused == 1
    storage.write(f"{BUCKET}/one/m.csv", f"path,video_id\n{name}.mp4,a\n".encode())
    assert run(f"{BUCKET}/one/m.csv", out).reused == 1
    storage.write(f"{BUCKET}/one/m.csv", b"path\n../films/a.mp4\n")
    with pytest.raises(UserError, match="leads out"):
        run(f"{BUCKET}/one/m.csv", out)


def test_mistakes_are_found_before_the_work(run, films: Path) -> None:
    for out in ("s3://nobodys/released", f"{BUCKET}/x?signature=1", "ftp://host/x"):
        with pytest.raises(UserError):
            run(SOURCE, out)
    with pytest.raises(UserError, match="There is no video"):
        run(f"{BUCKET}/nothing")
    storage.write(f"{BUCKET}/torn/{decisions.DECISIONS}", b"{")
    with pytest.raises(UserError, match="is not a decision"):
        run(SOURCE, f"{BUCKET}/torn")


@pytest.mark.slow
def test_pools_of_their_own_publish_to_a_store(run, films: Path, tmp_path: Path) -> None:
    """Each pool downloads the video; frames pass through a folder, and the last pool publishes."""
    run(SOURCE, f"{BUCKET}/fused")
    names = [path.stem for path in sorted((films / "videos").glob("*.mp4"))]
    frames = tmp_path / "frames"
    frames.mkdir()
    config = AnonymizeConfig(
        pose=PoseConfig(source="smpl", skeletons=films / "poses", veto=False),
        verify=VerifyConfig(look_again=False),
        pools=PoolsConfig(refine=PoolConfig(cpus=0.5)),
        secret_file=films / "secret",
    )
    secret = SecretFile.at(films / "secret")
    job = Job(out=tmp_path, work=tmp_path, secret=secret, frames=frames, store=f"{BUCKET}/split")
    items: list[Item] = [
        Pending(record=VideoRecord(video_id=name, path=f"{SOURCE}/{name}.mp4")) for name in names
    ]
    for _, stages in operators(SPLIT, config):
        work = StoreStages(stages, config, job)
        items = [work(item) for item in items]
    assert [item.status for item in items if isinstance(item, Decided)] == ["done"] * len(names)
    for name in names:
        for suffix in manifest.DATA_SUFFIXES:
            fused, split = (f"{BUCKET}/{way}/{name}{suffix}" for way in ("fused", "split"))
            found = storage.read_all([fused, split])
            assert found[fused] == found[split], (name, suffix)


def test_pools_of_their_own_need_a_folder_that_all_workers_reach(films: Path) -> None:
    (films / "secret").write_bytes(bytes(32))
    config = AnonymizeConfig(
        workers=1, pools=PoolsConfig(refine=PoolConfig(cpus=0.5)), secret_file=films / "secret"
    )
    with pytest.raises(UserError, match="name one with chunks="):
        anonymize(SOURCE, f"{BUCKET}/nowhere", config, progress=False)
