"""The secret of a run is where its file is, and nowhere that Ray writes: workers read it themselves."""

import base64
import json
import os
import pickle
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.field_films import Films

from raymaskdp.anonymize import AnonymizeConfig
from raymaskdp.anonymize.item import Pending
from raymaskdp.anonymize.output.secret import SecretFile
from raymaskdp.anonymize.pipeline import on_ray
from raymaskdp.anonymize.stages import Analyze, Job
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.errors import UserError

SECRET = bytes.fromhex("5e9d0c7715a2f3b84bd6e10f2c93ab477f60d2e8914c05bb3aa7d91e68f4c213")


def spellings(secret: bytes) -> list[bytes]:
    """How it may begin in a file: raw, hex, in base64 at each offset, as Python or JSON write it."""
    secret = secret[:12]  # logs shorten what is long
    found = [secret, secret.hex().encode(), secret.hex().upper().encode(), repr(secret)[2:-1].encode()]
    found.append(repr(secret)[2:-1].replace("\\", "\\\\").encode())  # within JSON
    found.append(", ".join(map(str, secret)).encode())
    found.append(", ".join(f'"{byte}"' for byte in secret).encode())  # the log of datasets
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        found += [encode(bytes(shift) + secret)[4 * (shift > 0) : -4] for shift in range(3)]
    return found


def written(folder: Path, texts: list[bytes]) -> Iterator[Path]:
    """Files below a folder that have one of some texts in them."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            if any(text in content for text in texts):
                yield path


@pytest.mark.slow
@pytest.mark.cluster
def test_ray_writes_no_secret_down(films: Films, tmp_path: Path) -> None:
    """With every log of events that Ray has, one of which writes down what actors are made of."""
    (tmp_path / "secret").write_bytes(SECRET)
    films.put(tmp_path / "in/a.mp4")
    poses = films.a.parents[1] / "poses"
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as folder:
        environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | {
            "RAY_TMPDIR": folder,
            "RAY_enable_export_api_write": "1",
            "RAY_DATA_ENABLE_VERBOSE_STATS": "1",
            "RAY_BACKEND_LOG_LEVEL": "debug",
            "RAY_enable_core_worker_ray_event_to_aggregator": "1",
        }
        command = [sys.executable, "-m", "raymaskdp", "anonymize", tmp_path / "in", "--out", tmp_path / "out"]
        command += ["workers=1", "pose.source=smpl", f"pose.skeletons={poses}", "pose.veto=false"]
        command += [f"secret_file={tmp_path / 'secret'}"]
        done = subprocess.run(
            list(map(str, command)), env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert "1 done" in done.stdout, done.stdout + done.stderr
        names = {path.name for path in Path(folder).rglob("*") if path.is_file()}
        assert any(name.startswith("event_EXPORT_DATASET_METADATA") for name in names), sorted(names)
        # What of the job was written down is its path, or nothing at all.
        assert list(written(Path(folder), spellings(SECRET))) == []
    assert list(written(tmp_path / "out", spellings(SECRET))) == []


def test_what_is_handed_to_workers_has_no_secret(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(SECRET)
    job = Job(out=tmp_path, work=tmp_path, secret=SecretFile.at(tmp_path / "secret"))
    for text in (pickle.dumps(job), repr(job).encode()):
        assert not any(spelt in text for spelt in spellings(SECRET))
    assert job.secret.read() == SECRET
    assert pickle.loads(pickle.dumps(job)) == job  # noqa: S301


@pytest.mark.parametrize(
    "text",
    [
        pickle.dumps({"secret": SECRET}),
        json.dumps({"arguments": str(SECRET)}).encode(),
        f"secret={SECRET.hex()}".encode(),
        *(base64.b64encode(bytes(shift) + SECRET + b"more") for shift in range(5)),
        str(list(SECRET)).encode(),
        json.dumps({"_fn_constructor_args": [{"secret": list(map(str, SECRET))}]}).encode(),
    ],
)
def test_a_secret_would_be_found(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below/log").write_bytes(b"a line\n" + text)
    assert list(written(tmp_path, spellings(SECRET))) == [tmp_path / "below/log"]


def test_a_machine_that_does_not_see_it_or_has_another_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    secret = SecretFile.at(Path("secret"))  # made here, by a path that is relative
    assert secret.path == tmp_path / "secret"
    assert secret.path.stat().st_mode & 0o077 == 0
    assert SecretFile.at(Path("secret")) == secret
    content = secret.read()
    (tmp_path / "secret").write_bytes(content[::-1])
    with pytest.raises(UserError, match=r"is not that of the run; give secret_file="):
        secret.read()
    (tmp_path / "secret").write_bytes(content[:7])
    with pytest.raises(UserError, match=r"must hold 32 bytes, but it holds 7"):
        secret.read()
    (tmp_path / "secret").unlink()
    with pytest.raises(UserError, match=r"cannot be read on this machine \(No such file .*give secret_file="):
        secret.read()
    (tmp_path / "secret").mkdir()
    with pytest.raises(UserError, match=r"cannot be read"):
        SecretFile.at(Path("secret"))


@pytest.mark.slow
@pytest.mark.cluster
def test_a_node_that_does_not_see_it_is_named_before_any_work(tmp_path: Path) -> None:
    """Though another node does, which would work alone, and slowly."""
    program = Path(__file__).parents[1] / "support" / "unseen_secret.py"
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run(
        [sys.executable, program, tmp_path],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (said,) = [line for line in done.stdout.splitlines() if line.startswith(("refused", "["))]
    assert re.fullmatch(
        r"refused: The secret file /proc/self/fd/191 cannot be read on [\d.]+ \(.+\); give secret_file= a "
        r"file on storage that every worker sees\.",
        said,
    )
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


@pytest.mark.slow
@pytest.mark.cluster
def test_workers_without_it_end_the_run_before_any_work(ray_session: None, tmp_path: Path) -> None:
    secret = SecretFile.at(tmp_path / "secret")
    (tmp_path / "secret").unlink()  # as on a machine that has another disk
    job = Job(out=tmp_path, work=tmp_path, secret=secret)
    items = [Pending(record=VideoRecord(video_id=f"v{n}", path="none.mp4")) for n in range(4)]
    with pytest.raises(UserError) as caught:
        list(on_ray(items, AnonymizeConfig(workers=2), job, stages=(Analyze,)))
    said = str(caught.value)
    assert said.startswith("Every worker fails (The secret file")
    assert "give secret_file=" in said
    assert "\n" not in said
    assert not list(tmp_path.iterdir())
