"""Objects on an object store (`s3://`, `gs://`), through fsspec.

All work uses local files. Objects are downloaded first (`local_copy`, `mirror`), and results are published
object by object (`publish`). A store shows an object completely or not at all. A writer that writes the
object with the digests of the others last therefore keeps the rule of all outputs: complete or absent.

Credentials come from the environment or from mounted files, as the store's own tools read them. A URL with a
password or a signature is refused, because URLs are written into manifests and logs.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import importlib
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from raymaskdp.errors import UserError
from raymaskdp.files import atomic_path, cache_dir
from raymaskdp.places import LIBRARIES, Place, is_url, join, place, split, temporary_folder

_FAILURES = (
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("aiohttp", "ClientError"),
    ("google.auth.exceptions", "GoogleAuthError"),
    ("gcsfs.retry", "HttpError"),
)
"""Exceptions of the libraries besides `OSError`."""


def version(url: str) -> str | None:
    """A value that changes whenever the object changes, None if there is none."""
    with _speaking(url) as (store, path):
        try:
            return _version(store.info(path))
        except FileNotFoundError:
            return None


def age(url: str) -> float:
    """Seconds since an object was written, by the store's clock and this machine's."""
    with _speaking(url) as (store, path):
        written: datetime.datetime = store.modified(path)
        return (datetime.datetime.now(datetime.UTC) - written).total_seconds()


def versions(folder: str, *, below: bool = True) -> dict[str, str]:
    """Versions of all objects in a folder, by their names relative to it; subfolders included.

    Raises `UserError` for a bucket that does not exist or cannot be reached; a folder without objects has
    none, because on a store there are no empty folders.
    """
    with _speaking(folder) as (store, path):
        try:
            found = store.find(path, detail=True) if below else _listed(store, path)
        except FileNotFoundError:
            # A folder without objects and a missing bucket look the same.
            store.ls(path.split("/", 1)[0])
            found = {}
        start = len(path.rstrip("/")) + 1
        return {name[start:]: _version(facts) for name, facts in found.items() if len(name) > start}


def read(url: str) -> bytes:
    """The content of a small object. Raises `UserError` if it is missing."""
    with _speaking(url) as (store, path):
        content: bytes = store.cat_file(path)
        return content


def read_all(urls: list[str]) -> dict[str, bytes]:
    """The contents of many small objects, downloaded in parallel; missing ones are omitted."""
    if not urls:
        return {}
    with _speaking(urls[0]) as (store, _):
        by_path = {store._strip_protocol(url): url for url in urls}
        found = store.cat(list(by_path), on_error="omit") if len(by_path) > 1 else _one(store, *by_path)
        return {by_path[path]: content for path, content in found.items()}


def write(url: str, content: bytes) -> None:
    """Write a small object; at any time the old one or the new one exists."""
    with _speaking(url) as (store, path):
        store.pipe_file(path, content)


def publish(local: Path, url: str) -> str:
    """Upload a file as one object that exists completely or not at all; returns its version.

    Raises `UserError` unless the stored object has the same size.
    """
    with _speaking(url) as (store, path):
        store.put_file(str(local), path)
        facts = store.info(path)
        if facts["size"] != local.stat().st_size:
            raise UserError(f"The store has {facts['size']} bytes of {url}, which has more; try again.")
        return _version(facts)


def set_aside(url: str, name: str) -> None:
    """Rename an object within its folder, so that it is not overwritten."""
    with _speaking(url) as (store, path):
        store.copy(path, f"{path.rsplit('/', 1)[0]}/{name}")


def remove(url: str) -> None:
    """Remove an object; a missing one is no error."""
    with _speaking(url) as (store, path), contextlib.suppress(FileNotFoundError):
        store.rm_file(path)


@contextlib.contextmanager
def local_copy(where: Place) -> Iterator[Path]:
    """A local file with the content of `where`: the file itself, or a private copy that is removed after the
    block.

    The copy has the object's name. Raises `UserError` if there is no such object, no connection, or not
    enough disk space.
    """
    if not is_url(where):
        yield Path(where)
        return
    with temporary_folder() as folder:
        copy = folder / split(str(where))[1]
        _fetch(str(where), copy)
        yield copy


def mirror(folder: Place) -> Path:
    """A local folder with the objects below `folder`: itself, or a copy in the cache.

    The copy is named by the URL and by all versions, so an existing copy is valid, and changed objects create
    another. Several processes may request it at once.
    """
    if not is_url(folder):
        return Path(folder)
    found = versions(str(folder))
    if not found:
        raise UserError(f"There is nothing below {folder}.")
    named = "\n".join([str(folder), *(f"{name} {version}" for name, version in sorted(found.items()))])
    copy = cache_dir() / "objects" / hashlib.sha256(named.encode()).hexdigest()[:32]
    for name in found:
        if not (copy / name).is_file():
            with atomic_path(copy / name, ours=True) as temporary:
                _fetch(join(str(folder), name), temporary)
    return copy


def _fetch(url: str, copy: Path) -> None:
    with _speaking(url) as (store, path):
        facts = store.info(path)
        if facts["type"] != "file":
            raise UserError(f"{url} is a folder, and not an object.")
        room = shutil.disk_usage(copy.parent).free
        if facts["size"] > room:
            raise UserError(f"{url} has {facts['size']} bytes, but {copy.parent} has room for {room}.")
        store.get_file(path, str(copy))


@contextlib.contextmanager
def _speaking(url: str) -> Iterator[tuple[Any, str]]:
    """The file system of a URL, and the path there; its failures become sentences."""
    scheme = str(place(url)).split("://", 1)[0]
    library = LIBRARIES[scheme]
    try:
        importlib.import_module(library)
    except ModuleNotFoundError as error:
        extra = "s3" if library == "s3fs" else "gcs"
        raise UserError(
            f"For {scheme}:// URLs {library} is needed; type: pip install 'raymaskdp[{extra}]'."
        ) from error
    from fsspec.core import url_to_fs

    try:
        # Listings are not cached, because other machines write to the same folder.
        store, path = url_to_fs(url, use_listings_cache=False)
        yield store, path
    except FileNotFoundError as error:
        raise UserError(f"{url} does not exist on the store.") from error
    except PermissionError as error:
        raise UserError(
            f"The store refuses access to {url}; check the credentials and permissions."
        ) from error
    except _failures() as error:
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"The store does not respond for {url}: {said}.") from error


def _failures() -> tuple[type[Exception], ...]:
    modules = [(sys.modules.get(module), name) for module, name in _FAILURES]
    return (OSError, *(getattr(module, name) for module, name in modules if module is not None))


def _version(facts: Mapping[str, Any]) -> str:
    """The store's entity tag (a digest, or a counter); size and time if it has none."""
    tag = facts.get("ETag") or facts.get("etag")
    if tag:
        return str(tag).strip('"')
    return f"{facts['size']}-{facts.get('LastModified') or facts.get('mtime') or facts.get('updated')}"


def _listed(store: Any, path: str) -> dict[str, Mapping[str, Any]]:
    return {facts["name"]: facts for facts in store.ls(path, detail=True) if facts["type"] == "file"}


def _one(store: Any, path: str) -> dict[str, bytes]:
    try:
        return {path: store.cat_file(path)}
    except FileNotFoundError:
        return {}
