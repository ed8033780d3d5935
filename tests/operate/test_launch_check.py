"""The check of launch files names what is still to be set, and where; a file that is filled in passes."""

import re
from pathlib import Path

import pytest

from raymaskdp import cli
from raymaskdp.errors import UserError
from raymaskdp.operate.launch_check import inspect

CLUSTER = Path(__file__).parents[2] / "cluster"
FILES = [*sorted(CLUSTER.glob("*.yaml")), *sorted(CLUSTER.glob("kuberay/ray*.yaml"))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_is_to_be_set_is_little_at_the_top_and_named(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(CLUSTER.parent)
    text = path.read_text()
    found = inspect(path)
    assert not found.healthy
    unset = [check for check in found.checks if "still says" in check.found]
    assert 1 <= len(unset) <= 3
    lines = [int(check.found.split()[1]) for check in unset]
    assert max(lines) <= 20  # at the top
    assert all(check.fix and check.fix != "put your own value there" for check in unset)
    # Nothing else in the file wants to be set: no placeholder escapes, and none is set twice.
    assert re.findall(r"<[^<>\s]+>", text) == [
        name for check in unset for name in re.findall(r"<[^<>\s]+>", check.found)
    ]

    filled = tmp_path / path.name
    filled.write_text(re.sub(r"<([^<>\s]+)>", r"\1", text))
    mounted = [check for check in inspect(filled).checks if check.verdict == "wrong"]
    assert all(check.name.startswith("file_mounts.") for check in mounted)
    (tmp_path / ".raymaskdp-ca").mkdir()
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray/auth_token").write_text("x")
    assert inspect(filled).healthy
    assert {check.fix for check in mounted} <= {
        "ray get-auth-token --generate",
        "sh cluster/tls.sh --new ~/.raymaskdp-ca",
    }


def test_the_command_says_what_to_do(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "launch.yaml"
    path.write_text("provider:\n  region: <region> # near the videos\nworkers: [<many>]\n")
    assert cli.main(["doctor", "--launch", str(path)]) == 1
    printed = capsys.readouterr().out
    assert "provider.region" in printed
    assert "line 2 still says <region>" in printed
    assert "→ near the videos" in printed
    assert "workers[0]" in printed
    path.write_text("provider: {region: here} # not <region>\n")
    assert cli.main(["doctor", "--launch", str(path)]) == 0


@pytest.mark.parametrize(
    "content", [None, b"\xff\xfe\xfa", b"a: [", b"- a\n", b"", b"!!python/name:os.system x"]
)
def test_a_file_that_is_none_is_a_mistake(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "launch.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"launch\.yaml"):
        inspect(path)
