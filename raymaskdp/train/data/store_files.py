"""Writing the files of a clip store: locally, or locally first and then to an object store."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

from raymaskdp import places, storage
from raymaskdp.errors import UserError
from raymaskdp.files import MADE, atomic_path, require_ours, sha256_file
from raymaskdp.places import LocalPath, Place, temporary_folder
from raymaskdp.train.data.store import PARTS


def write_array(path: LocalPath, array: np.ndarray) -> None:
    """Write an array as `np.save` does, atomically. Raises `MachineError` if the disk is full."""
    with atomic_path(path) as temporary, open(temporary, "wb") as opened:
        # `np.save` itself gives no reason if it could not write all.
        np.lib.format.write_array_header_1_0(opened, np.lib.format.header_data_from_array_1_0(array))
        opened.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


@contextlib.contextmanager
def written_to(out: Place) -> Iterator[Path]:
    """A folder to write into; its files are then moved to `out`, the JSON with their digests last."""
    if not places.is_url(out):
        yield Path(out)
        return
    with temporary_folder() as folder:
        yield folder
        files = [path for path in folder.rglob("*") if path.is_file() and path.name != MADE]
        for path in sorted(files, key=lambda path: (path.suffix == ".json", path)):
            url = places.join(str(out), path.relative_to(folder).as_posix())
            part = next((part for part in PARTS if path.name.endswith(f".{part}")), None)
            if path.parent != folder and part is not None:
                _keep_foreign(url, about_url=f"{url.removesuffix(part)}{PARTS[-1]}")
            storage.publish(path, url)


def remove_clips(out: Path, wanted: Collection[str]) -> tuple[str, ...]:
    """Remove what was stored of videos that are not wanted any more; a sentence about them, or none."""
    gone, kept = set(), set()
    for path in (out / "clips").iterdir():
        part = next((part for part in PARTS if path.name.endswith(f".{part}")), None)
        name = path.name.removesuffix(f".{part}")
        if part is None or name in wanted:
            continue
        try:
            require_ours(path)
        except UserError:
            kept.add(path.name)
            continue
        path.unlink()
        gone.add(name)
    notes = []
    if gone:
        notes.append(f"the clips of {', '.join(sorted(gone))}, not in the source any more, were removed")
    if kept:
        notes.append(f"{', '.join(sorted(kept))} in {out / 'clips'}, not as written here, stay")
    return tuple(notes)


def _keep_foreign(url: str, about_url: str) -> None:
    """Rename an object that no earlier run recorded before it is replaced.

    Objects that a killed run uploaded before its JSON are kept in this way, too: no run recorded them.
    """
    version = storage.version(url)
    if version is None:
        return
    try:
        about = json.loads(storage.read(about_url))
        vouched = {about["row"]["frames_sha256"], about["row"]["masks_sha256"]}
        ours = url == about_url and isinstance(about["made_from"], str)
    except (UserError, ValueError, KeyError, TypeError):
        vouched, ours = set(), False
    if not ours:
        with storage.local_copy(url) as copy:
            ours = sha256_file(copy) in vouched
    if not ours:
        storage.set_aside(url, f"{url.rsplit('/', 1)[1]}.set-aside-{version[:8]}")
