"""Results of pools that are kept in a private folder until their rows are finished.

A row whose worker dies in a later pool starts again from its last kept result, so a crash there does not
repeat the earlier work.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import uuid
from pathlib import Path
from typing import Any

_READY, _TAKEN = "ready", "taken"


class KeptResults:
    """Results by the name of their row and the number of their pool.

    Args:
      folder: a private folder that all workers can access. Results are stored with `pickle`, so only the
        run's own processes may write there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, name: Any, pool: int) -> dict[str, Any] | None:
        """The result of pool number `pool` for the row; None if there is none."""
        for state in (_READY, _TAKEN):
            try:
                return dict(pickle.loads(self._path(name, pool, state).read_bytes()))  # noqa: S301 — our own
            except FileNotFoundError:
                continue
        return None

    def save(self, name: Any, pool: int, row: dict[str, Any]) -> None:
        """Store a result; it counts as waiting until it is taken."""
        path = self._path(name, pool, _READY)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Renamed, so that it is complete or absent, but not synced: it need not outlive the machine.
        temporary = self._folder / f"{uuid.uuid4().hex}"
        temporary.write_bytes(pickle.dumps(row))
        os.replace(temporary, path)

    def take(self, name: Any, pool: int) -> None:
        """Note that a worker of the next pool has begun with a result of pool number `pool`."""
        taken = self._path(name, pool, _TAKEN)
        taken.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.replace(self._path(name, pool, _READY), taken)
        except FileNotFoundError:  # taken before, by a worker that died
            return

    def waiting(self, pool: int) -> int:
        """Number of results of a pool that no worker of the next pool has taken."""
        try:
            return len(os.listdir(self._folder / f"{pool}" / _READY))
        except FileNotFoundError:
            return 0

    def forget(self, name: Any, pools: int) -> None:
        """Remove the results of the first `pools` pools for a row that is finished."""
        for pool in range(pools):
            for state in (_READY, _TAKEN):
                self._path(name, pool, state).unlink(missing_ok=True)

    def _path(self, name: Any, pool: int, state: str) -> Path:
        digest = hashlib.sha256(str(name).encode("utf-8", "surrogateescape")).hexdigest()[:32]
        return self._folder / f"{pool}" / state / digest
