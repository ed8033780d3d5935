"""The job scripts, run as `ray job submit` runs them: beside a cluster that `$RAY_ADDRESS` names."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from raymaskdp.synthetic.config import SynthesizeConfig
from raymaskdp.synthetic.synthesize import synthesize

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

JOBS = Path(__file__).parents[2] / "jobs"


def run(
    head: dict[str, str], name: str, *arguments: str | Path, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, JOBS / f"{name}.py", *arguments]
    return subprocess.run(
        list(map(str, command)),
        env=head,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def test_anonymize_and_a_mistake(head: dict[str, str], tmp_path: Path) -> None:
    settings = SynthesizeConfig(people=2, actions=("wave",), rooms=1, cameras=1, frames=6, test_share=0.5)
    synthesize(tmp_path / "sample", settings)
    out = tmp_path / "out"
    # The cluster was started in another folder, and its workers are there.
    done = run(head, "anonymize", "sample", "--out", "out", "workers=1", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    manifest = pd.read_parquet(out / "manifest.parquet")
    assert list(manifest.status) == ["done"] * 2, list(manifest.reason)

    mistaken = run(head, "anonymize", tmp_path / "nowhere", "--out", out)
    assert mistaken.returncode == 2
    assert "does not exist" in mistaken.stderr


@pytest.mark.parametrize("name", ["train", "sweep"])
def test_the_other_scripts_are_their_commands(head: dict[str, str], name: str) -> None:
    done = run(head, name, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: raymaskdp {name}")
