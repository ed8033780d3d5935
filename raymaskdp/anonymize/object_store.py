"""Videos and outputs on object stores: downloaded by a worker before its stages, published after them.

The stages use local files only. A video on a store is downloaded to a private folder and removed when its
stages end. If the output folder is on a store, each worker has its own private folder, and its verified files
are published object by object: the old provenance is removed first and the new one is written last, so a
reader sees a complete video, or none.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from raymaskdp import places, storage
from raymaskdp.anonymize.config import AnonymizeConfig
from raymaskdp.anonymize.item import Decided, Item
from raymaskdp.anonymize.outcome import run_item
from raymaskdp.anonymize.output import manifest, object_store_files, ownership
from raymaskdp.anonymize.output.folders import INSIDE
from raymaskdp.anonymize.output.manifest import Row
from raymaskdp.anonymize.stages.job import Job
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.places import Place

Stage = Callable[[AnonymizeConfig, Job], Callable[[Any], Any]]
"""Functions of items, or of cameras."""


TEST_BYTES = 2**20
"""Bytes that are written to test a folder."""


class StoreStages:
    """Consecutive stages, with their downloads from stores and their upload to one.

    Tasks that are not videos pass through the stages unchanged.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        config: AnonymizeConfig,
        job: Job,
    ) -> None:
        self._store = job.store
        if self._store is not None:
            self._scratch = tempfile.TemporaryDirectory(
                prefix="raymaskdp-"
            )  # private, and removed with this object
            job = dataclasses.replace(
                job, out=Path(self._scratch.name) / "out", work=Path(self._scratch.name) / "work"
            )
            job.out.mkdir()
            job.work.mkdir()
        self._out = job.out
        self._work_folder = job.work
        self._stages = [stage(config, job) for stage in stages]

    def __call__(self, task: Any) -> Any:
        if isinstance(task, Item) and (self._store is not None or places.is_url(task.record.path)):
            return task if isinstance(task, Decided) else run_item(self._carry, task)
        return self._work(task)

    def self_test(self) -> None:
        """Test the folders, and the stages on a known video; raises the machine's error."""
        for folder in (self._out, self._work_folder):
            with tempfile.NamedTemporaryFile(dir=folder, prefix=f"{INSIDE}.test") as probe:
                probe.write(bytes(TEST_BYTES))
                probe.flush()
                os.fsync(probe.fileno())
        for stage in self._stages:
            if hasattr(stage, "self_test"):
                with tempfile.TemporaryDirectory(dir=self._work_folder) as scratch:
                    stage.self_test(Path(scratch))

    def _work(self, task: Any) -> Any:
        for stage in self._stages:
            task = stage(task)
        return task

    def _carry(self, item: Item) -> Item:
        url = item.record.path
        with contextlib.ExitStack() as held:
            if places.is_url(url):
                version = storage.version(url)  # before the content, which may change meanwhile
                local = str(held.enter_context(storage.local_copy(url)))
                done = self._work(dataclasses.replace(item, local=local, source_version=version))
                done = dataclasses.replace(done, local=None)
                if isinstance(done, Decided):
                    reasons = tuple(reason.replace(local, url) for reason in done.reasons)
                    done = dataclasses.replace(done, reasons=reasons)
            else:
                done = self._work(item)
        if self._store is not None and isinstance(done, Decided) and done.status == "done":
            self._publish(self._store, done.record.video_id)
        # The caller measures the whole time, including the transfers.
        return dataclasses.replace(done, seconds=item.seconds)

    def _publish(self, store: str, name: str) -> None:
        """Upload a video's files to the store."""
        object_store_files.publish(self._out, store, name)
        shutil.rmtree(self._out)
        self._out.mkdir()


class PreviousRun:
    """Results of earlier runs for videos on a store, or for an output on one; each folder is listed once."""

    def __init__(self, out: Place, records: Iterable[VideoRecord]) -> None:
        self._out = out
        self._sources: dict[str, dict[str, str]] = {}
        if isinstance(out, str):
            self._stored = storage.versions(out)
            names = [name for record in records if (name := f"{record.video_id}.json") in self._stored]
            found = storage.read_all([places.join(out, name) for name in names])
            self._provenance = {places.split(url)[1]: content for url, content in found.items()}

    def about(self, record: VideoRecord) -> bytes | None:
        """The content of a video's `ID.json`; None if there is none."""
        name = f"{record.video_id}.json"
        if isinstance(self._out, str):
            return self._provenance.get(name)
        try:
            return (self._out / name).read_bytes()
        except OSError:
            return None

    def require_free(self, record: VideoRecord, old: Row | None) -> None:
        """Raise `UserError` if files of the user's have the names of a video's outputs."""
        done_before = old is not None and old.status == "done"
        if isinstance(self._out, Path):
            ownership.require_free(
                self._out, record.video_id, manifest.DATA_SUFFIXES, done_before=done_before
            )
            return
        about = f"{record.video_id}.json"
        ours = object_store_files.names(self._provenance.get(about, b""))
        for name in (about, *(f"{record.video_id}{suffix}" for suffix in manifest.DATA_SUFFIXES)):
            if name in self._stored and name not in ours and not done_before:
                raise ownership.occupied_error(places.join(self._out, name))

    def finished(self, record: VideoRecord, old: Row | None, config_sha256: str) -> Row | None:
        """The row of a video that needs no more work, or None; as in `manifest.reusable_row`."""
        if isinstance(self._out, Path):
            provenance = manifest.read_provenance(self._out, record.video_id)
        else:
            provenance = manifest.parse_provenance(self._provenance.get(f"{record.video_id}.json", b""))
        return manifest.reusable_row(
            record,
            old,
            provenance,
            config_sha256,
            same_source=lambda row: self._same_source(record, row),
            intact=self._intact,
        )

    def unchanged(self, record: VideoRecord, old: Row | None, config_sha256: str) -> Row | None:
        """The row of a video with the same source, subject and configuration, done or not.

        A decision about it remains valid, even if its files were damaged.
        """
        if old is None or (old.config_sha256, old.subject) != (config_sha256, record.subject):
            return None
        return old if self._same_source(record, old) else None

    def _same_source(self, record: VideoRecord, row: Row) -> bool:
        if not places.is_url(record.path):
            return manifest.same_source(record, row)
        folder, name = places.split(record.path)
        if folder not in self._sources:
            self._sources[folder] = storage.versions(folder, below=False)
        version = json.loads(row.metrics).get(manifest.SOURCE_VERSION)
        return version is not None and self._sources[folder].get(name) == version

    def _intact(self, provenance: dict[str, Any]) -> bool:
        if isinstance(self._out, Path):
            return manifest.intact(self._out, provenance["outputs"])
        stored = provenance.get("stored", {})
        return bool(stored) and all(self._stored.get(name) == version for name, version in stored.items())
