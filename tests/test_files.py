"""Files are complete or absent."""

from pathlib import Path

import pytest

from raymaskdp import files


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    with files.atomic_path(path) as temporary:
        temporary.write_bytes(b"old")

    def fail_half_way() -> None:
        with files.atomic_path(path) as temporary:
            temporary.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert path.read_bytes() == b"old"
    assert {inner.name for inner in tmp_path.iterdir()} == {path.name, files.MADE}


def test_a_write_appears_at_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "video.mp4"
    with files.atomic_path(path) as temporary:
        temporary.write_bytes(b"whole")
        assert not path.exists()
        assert temporary.suffix == ".mp4"
    assert path.read_bytes() == b"whole"
    assert {inner.name for inner in path.parent.iterdir()} == {path.name, files.MADE}


def test_json_refuses_what_json_has_not(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        files.write_json(tmp_path / "x.json", {"epsilon": float("inf")})
    assert not list(tmp_path.iterdir())


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert files.sha256_file(tmp_path / "abc") == expected
