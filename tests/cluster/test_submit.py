"""Jobs on a cluster, through its job server: submitted, followed, stopped and submitted again."""

import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from object_store import BUCKET, served

from raymaskdp import cli, storage
from raymaskdp.synthetic.config import SynthesizeConfig
from raymaskdp.synthetic.synthesize import synthesize

pytestmark = [pytest.mark.slow, pytest.mark.cluster]


SOURCE, OUT = f"{BUCKET}/submitted", f"{BUCKET}/released"

Client = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def raymaskdp(
    head: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Client:
    """Runs a command: exit status, printed JSON, standard error. It knows only the job server."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", head["RAY_API_SERVER_ADDRESS"])

    def run(*arguments: str | Path) -> tuple[int, dict[str, Any], str]:
        status = cli.main([*map(str, arguments), "--json"])
        printed = capsys.readouterr()
        return status, json.loads(printed.out), printed.err

    return run


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Two films on an object store, at `SOURCE`; what tells a job where the store is."""
    folder = tmp_path_factory.mktemp("sample")
    settings = SynthesizeConfig(people=2, actions=("wave",), rooms=1, cameras=1, frames=6, test_share=0.5)
    synthesize(folder, settings)
    with served() as environment:
        for path in (folder / "videos").glob("*.mp4"):
            storage.publish(path, f"{SOURCE}/{path.name}")
        yield [word for name, value in environment.items() for word in ("--env", f"{name}={value}")]


def test_submit_follow_stop_resubmit(
    raymaskdp: Client, head: dict[str, str], store: list[str], tmp_path: Path
) -> None:
    """From store to store: neither the cluster nor its workers know anything of the store but by the job."""
    submit = (
        "submit",
        "anonymize",
        SOURCE,
        "--out",
        OUT,
        *store,
        "workers=1",
        f"secret_file={tmp_path / 'secret'}",
    )
    status, first, _ = raymaskdp(*submit, "--no-follow")
    assert status == 4
    assert first["state"] in ("pending", "running")
    assert not first["attached"]

    _, stopped, _ = raymaskdp("job", "stop", first["id"])
    assert stopped["state"] == "stopped"
    assert raymaskdp("job", "status", first["id"])[0] == 3

    status, second, printed = raymaskdp(*submit)
    assert (status, second["state"], second["attached"]) == (0, "succeeded", False), printed
    assert second["id"] == f"{first['id']}-2"  # the second try
    assert "anonymize:" in printed  # the job's progress was followed
    with storage.local_copy(f"{OUT}/manifest.parquet") as manifest:
        assert list(pd.read_parquet(manifest).status) == ["done"] * 2
    published = storage.versions(OUT)
    assert len([name for name in published if name.endswith(".json")]) == 2

    with urllib.request.urlopen(head["METRICS"]) as page:
        metrics = page.read().decode()
    assert re.search(
        r'^ray_raymaskdp_videos_total{.*status="(done|quarantined)".*} [12]', metrics, re.MULTILINE
    )
    assert "ray_raymaskdp_stage_seconds_total{" in metrics

    status, third, _ = raymaskdp(*submit)
    assert (status, third["attached"]) == (0, True)
    assert storage.versions(OUT) == published  # nothing was started again

    _, listed, _ = raymaskdp("job", "list")
    assert [job["id"] for job in listed["jobs"]] == [second["id"], first["id"]]


def test_a_mistake_is_found_before_anything_is_sent_and_a_failure_has_its_status(
    raymaskdp: Client, tmp_path: Path
) -> None:
    status, answer, _ = raymaskdp("submit", "anonymize", "x", "--out", tmp_path, "poes.source=x")
    assert status == 2
    assert "did you mean 'pose'" in answer["error"]

    status, answer, printed = raymaskdp("submit", "anonymize", tmp_path / "no", "--out", tmp_path)
    assert (status, answer["state"]) == (1, "failed")
    assert "does not exist" in printed

    status, answer, _ = raymaskdp("job", "status", "raymaskdp-train-none")
    assert status == 2
    assert "knows no job" in answer["error"]


def test_no_job_server(raymaskdp: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:9")
    status, answer, printed = raymaskdp("job", "list")
    assert status == 2
    assert "No job server responds" in answer["error"]
    assert "Traceback" not in printed
