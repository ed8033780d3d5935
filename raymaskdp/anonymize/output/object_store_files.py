"""The files of finished videos on an object store, with versions in place of digests: see `ownership`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raymaskdp import places, storage
from raymaskdp.anonymize.output.ownership import MARKS
from raymaskdp.files import sha256_file, write_json

COMING = "coming"
"""Key of a provenance with the digests of objects that are being uploaded, by name."""


def publish(out: Path, store: str, video_id: str) -> None:
    """Upload the files of a video from the folder `out` to the store, and record their versions."""
    about = out / f"{video_id}.json"
    provenance: dict[str, Any] = json.loads(about.read_text(encoding="utf-8"))
    old = _read(store, video_id)
    if old is None:
        _set_aside(store, about.name)
    claim = {name: provenance[name] for name in (*MARKS, "source_sha256")} | {
        "outputs": {},
        "source": provenance["row"]["source"],
        "stored": dict((old or {}).get("stored", {})),
        COMING: _coming(old) | {name: sha256_file(out / name) for name in provenance["outputs"]},
    }
    storage.write(places.join(store, about.name), json.dumps(claim).encode())
    for name in provenance["outputs"]:
        if not _is_ours(store, name, old or {}):
            _set_aside(store, name)
    provenance["stored"] = {
        name: storage.publish(out / name, places.join(store, name)) for name in provenance["outputs"]
    }
    write_json(about, provenance, ours=True)
    storage.publish(about, places.join(store, about.name))


def unpublish(store: str, video_id: str) -> None:
    """Remove the objects of a video that its provenance names, in the recorded versions."""
    old = _read(store, video_id)
    if old is None:
        return
    about = places.join(store, f"{video_id}.json")
    stored = old.get("stored", {})
    claim = {name: old[name] for name in MARKS} | {"outputs": {}, "stored": stored, COMING: _coming(old)}
    storage.write(about, json.dumps(claim).encode())
    for name in sorted({*stored, *_coming(old)}):
        if _is_ours(store, name, old):
            storage.remove(places.join(store, name))
    storage.remove(about)


def names(content: bytes) -> set[str]:
    """The objects that an `ID.json` names as this project's, including itself."""
    values = _parsed(content) or {}
    about = [f"{values['video_id']}.json"] if values else []
    return {*about, *values.get("stored", {}), *values.get(COMING, ())}


def _read(store: str, video_id: str) -> dict[str, Any] | None:
    """The provenance of a video on the store; None if this project wrote none."""
    url = places.join(store, f"{video_id}.json")
    found = storage.read_all([url])
    return _parsed(found[url]) if url in found else None


def _parsed(content: bytes) -> dict[str, Any] | None:
    """A provenance, without objects in other folders."""
    try:
        values = json.loads(content)
    except ValueError:
        return None
    if not isinstance(values, dict) or not values.keys() >= MARKS:
        return None
    for key in ("stored", COMING):
        named = values.get(key, {})
        found = named if isinstance(named, dict) else {}
        values[key] = {name: value for name, value in found.items() if "/" not in name}
    return values


def _coming(old: Mapping[str, Any] | None) -> dict[str, str]:
    return dict((old or {}).get(COMING, {}))


def _is_ours(store: str, name: str, old: Mapping[str, Any]) -> bool:
    """Whether there is no such object, or one in the recorded or the coming version."""
    url = places.join(store, name)
    version = storage.version(url)
    if version is None or version == old.get("stored", {}).get(name):
        return True
    if name not in _coming(old):
        return False
    with storage.local_copy(url) as copy:
        return sha256_file(copy) == _coming(old)[name]


def _set_aside(store: str, name: str) -> None:
    url = places.join(store, name)
    version = storage.version(url)
    if version is not None:
        storage.set_aside(url, f"{name}.set-aside-{version[:8]}")
