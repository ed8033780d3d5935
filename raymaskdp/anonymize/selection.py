"""Which videos of a source need work in a run, and which of them share a background."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from raymaskdp.anonymize import shared_background
from raymaskdp.anonymize.config import AnonymizeConfig
from raymaskdp.anonymize.item import BackgroundSharing, Pending
from raymaskdp.anonymize.object_store import PreviousRun
from raymaskdp.anonymize.output import decisions, folders, identity
from raymaskdp.anonymize.output.manifest import Row
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.places import Place


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The videos of a run.

    Attributes:
      finished: rows of the videos that need no work, by id.
      todo: the other videos.
      plates: the private folder of observations and views.
      donors: the videos from which each camera's plate is built, by camera.
      config_sha256: digest of the run's settings.
    """

    finished: Mapping[str, Row]
    todo: Sequence[Pending]
    plates: Path
    donors: Mapping[str, Sequence[VideoRecord]]
    config_sha256: str

    def observed(self) -> dict[str, list[Path]]:
        """By camera, the paths of observations of those donors that need no work."""
        unfinished = {item.record.video_id for item in self.todo}
        return {
            camera: [
                shared_background.observation_path(
                    self.plates, camera, self.finished[record.video_id].source_sha256, self.config_sha256
                )
                for record in some
                if record.video_id not in unfinished
            ]
            for camera, some in self.donors.items()
        }


def select(
    records: Sequence[VideoRecord],
    rows: Mapping[str, Row],
    out: Place,
    config: AnonymizeConfig,
) -> Selection:
    """Compare the videos with the outputs of earlier runs.

    Raises `UserError` if a video would replace another one with the same id, or a file of the user.

    Args:
      records: all videos of the source, with the ids of earlier runs.
      rows: the manifest of the output folder, by id.
    """
    config_sha256 = config.digest()
    decided = decisions.read(out)
    earlier = PreviousRun(out, records)
    plates = folders.persistent(folders.home_of(out), "plates")
    # Backgrounds are shared through a folder that all workers can access, which a store is not.
    donors = shared_background.donors(records, config.plate.shared_videos if isinstance(out, Path) else 0)
    sharing = {
        record.video_id: BackgroundSharing(camera=camera, plates=plates)
        for camera, some in donors.items()
        for record in some
    }
    finished, todo = {}, []
    for record in records:
        name = record.video_id
        row, released = _known(record, rows.get(name), earlier, decided, config_sha256)
        if row is not None:
            finished[name] = row
            continue
        identity.require_same(out, record, rows.get(name), earlier.about(record))
        earlier.require_free(record, rows.get(name))
        truth, shares = _truth(record), sharing.get(name)
        todo.append(Pending(record=record, truth=truth, released=released, shares=shares))
    return Selection(finished=finished, todo=todo, plates=plates, donors=donors, config_sha256=config_sha256)


def _known(
    record: VideoRecord,
    old: Row | None,
    earlier: PreviousRun,
    decided: Sequence[decisions.Decision],
    config_sha256: str,
) -> tuple[Row | None, tuple[str, ...]]:
    """The row of a video that needs no work, None otherwise; and the reasons that a reviewer released."""
    row = earlier.finished(record, old, config_sha256)
    known = row or earlier.unchanged(record, old, config_sha256)
    released = () if known is None else decisions.accepted(decided, known)
    return (None if row is None or decisions.overruled(released, row) else row), released


def _truth(record: VideoRecord) -> str | None:
    """Ground truth of a synthesized video: `truth/ID.npz` beside its folder."""
    path = Path(record.path).parent.parent / "truth" / f"{record.video_id}.npz"
    return str(path) if path.is_file() else None
