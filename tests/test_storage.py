"""Object stores, against a server that speaks S3: what is fetched, published, refused and not reached."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from object_store import BUCKET, served

from raymaskdp import places, storage
from raymaskdp.errors import UserError


@pytest.fixture(scope="module")
def store() -> Iterator[None]:
    with served():
        yield


def test_paths_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"film")
    assert places.place(str(tmp_path)) == tmp_path
    assert not places.is_url("folder/a:b.mp4")
    with storage.local_copy(tmp_path / "a.mp4") as copy:
        assert copy == tmp_path / "a.mp4"
    assert copy.exists()
    assert storage.mirror(tmp_path) == tmp_path


@pytest.mark.parametrize(
    "url",
    [
        "s3://key:secret@videos/a",
        "s3://videos/a?X-Amz-Signature=0123",
        "s3://videos/a#0123",
        "https://example.org/a.mp4",
        "s3://",
        "s3://videos/../a",
    ],
)
def test_urls_with_secrets_or_of_other_kinds_are_refused(url: str) -> None:
    with pytest.raises(UserError) as refusal:
        places.place(url)
    assert "secret@" not in str(refusal.value)
    assert "0123" not in str(refusal.value)


def test_names_stay_in_their_folder() -> None:
    assert places.join(f"{BUCKET}/a/", "b/c.mp4") == f"{BUCKET}/a/b/c.mp4"
    for name in ("../b", "/etc/passwd", "b/../../c"):
        with pytest.raises(UserError, match="leads out"):
            places.join(f"{BUCKET}/a", name)


def test_what_is_published_is_there_and_what_changes_has_another_version(
    store: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYMASKDP_CACHE", str(tmp_path / "cache"))
    folder = f"{BUCKET}/round"
    assert storage.versions(folder) == {}
    assert storage.version(f"{folder}/a.bin") is None
    (tmp_path / "a.bin").write_bytes(bytes(range(256)) * 4000)
    first = storage.publish(tmp_path / "a.bin", f"{folder}/a.bin")
    storage.write(f"{folder}/below/b.json", b"{}")
    assert storage.versions(folder).keys() == {"a.bin", "below/b.json"}
    assert storage.versions(folder, below=False) == {"a.bin": first}
    assert storage.version(f"{folder}/a.bin") == first
    both = [f"{folder}/below/b.json", f"{folder}/none.json"]
    assert storage.read_all(both) == {both[0]: b"{}"} == storage.read_all(both[:1])

    with storage.local_copy(f"{folder}/a.bin") as copy:
        assert copy.name == "a.bin"
        assert copy.read_bytes() == (tmp_path / "a.bin").read_bytes()
        assert copy.parent.stat().st_mode & 0o777 == 0o700
    assert not copy.parent.exists()

    whole = storage.mirror(folder)
    assert (whole / "below" / "b.json").read_bytes() == b"{}"
    storage.write(f"{folder}/a.bin", b"other")
    assert storage.version(f"{folder}/a.bin") != first
    assert (storage.mirror(folder) / "a.bin").read_bytes() == b"other"
    assert (whole / "a.bin").stat().st_size == 256 * 4000  # who works on the old one is not disturbed

    storage.remove(f"{folder}/a.bin")
    storage.remove(f"{folder}/a.bin")
    assert storage.versions(folder).keys() == {"below/b.json"}


def test_what_is_missing_or_not_reached_is_one_sentence(store: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        pytest.raises(UserError, match="does not exist on the store"),
        storage.local_copy(f"{BUCKET}/no.mp4"),
    ):
        pass
    with pytest.raises(UserError, match=r"s3://nobodys/videos"):
        storage.versions("s3://nobodys/videos")
    with pytest.raises(UserError, match="copy the folder here"):
        places.only_local(f"{BUCKET}/x", why="this is a test")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(UserError, match=r"does not respond for s3://videos") as refusal:
        storage.versions(BUCKET)
    assert "\n" not in str(refusal.value)
    s3fs.S3FileSystem.clear_instance_cache()
