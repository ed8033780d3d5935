"""The check-up says what is there, and what to type where something is not."""

from pathlib import Path

import pytest

from raymaskdp.operate import doctor
from raymaskdp.operate.doctor import DoctorResult


def checks(result: DoctorResult) -> dict[str, doctor.Check]:
    return {check.name: check for check in result.checks}


def test_this_machine_is_ready() -> None:
    result = doctor.doctor()
    assert result.healthy, str(result)
    assert checks(result)["OpenGL (EGL)"].found  # a driver answered
    assert str(result).endswith("Ready.")


def test_missing_model_files_come_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYMASKDP_CACHE", str(tmp_path))
    result = doctor.doctor()
    assert not result.healthy
    assert checks(result)["model files"].fix == "raymaskdp models pull"
    assert "→ raymaskdp models pull" in str(result)
    assert not list(tmp_path.iterdir())  # nothing is changed


def test_a_package_out_of_range_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "requires", lambda _: ["torch<1", "no-such-package>=2", 'x; extra == "dev"'])
    (found,) = [check for check in doctor.doctor().checks if check.name == "packages"]
    assert found.verdict == "wrong"
    assert "torch" in found.found
    assert "no-such-package is missing" in found.found
    assert "x is missing" not in found.found


def test_a_disk_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    check = doctor._disk("here", tmp_path / "not" / "there" / "yet")
    assert check.verdict in ("ok", "note")
    assert str(tmp_path) in check.found


@pytest.mark.parametrize(
    ("cuda", "driver", "wrong"),
    [
        ("13.0", "570.124.06", True),
        ("13.0", "580.65.06", False),
        ("12.6", "570.124.06", False),
        ("12.6", "470.256.02", True),
        (None, "470.256.02", False),
        ("13.0", "", False),
    ],
)
def test_a_torch_that_is_too_new_for_the_driver_is_named(cuda: str | None, driver: str, wrong: bool) -> None:
    said = doctor.older_driver(cuda, driver)
    assert bool(said) == wrong
    assert driver in said or not wrong


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.124.06  Wed Feb 26 01:58:28 UTC 2025\n",
            "570.124.06",
        ),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n", "580.65.06"),
        ("something else", ""),
        (None, ""),
    ],
)
def test_the_driver_is_read_where_the_kernel_tells_it(text: str | None, version: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "version").write_text(text)
    assert doctor._driver(tmp_path / "version") == version
