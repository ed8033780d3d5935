"""`raymaskdp review`: inspect the frames for which videos were quarantined, and record decisions.

The page shows frames of the *sources*, including people. It is written beside the output folder, not into it,
and only its owner can read it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from raymaskdp import files
from raymaskdp.anonymize.output import decisions, manifest
from raymaskdp.anonymize.output.manifest import Row
from raymaskdp.datasets.source_lookup import original
from raymaskdp.errors import UserError
from raymaskdp.places import LocalPath
from raymaskdp.report import pages
from raymaskdp.report.pictures.filmstrips import frame_indices, jpeg_uri
from raymaskdp.video import reader

WIDTH_PX = 300
FRAMES = 6
"""Number of frames shown for a video whose row names none."""


@dataclass(frozen=True, kw_only=True)
class ReviewFrame:
    """A frame of a source: its number, and its image as a data URI."""

    frame: int
    picture: str


@dataclass(frozen=True, kw_only=True)
class ReviewCase:
    """A quarantined video on the page; `missing` says why there are no images, or is empty."""

    video_id: str
    reasons: tuple[str, ...]
    shots: tuple[ReviewFrame, ...]
    missing: str
    decided: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ReviewResult:
    """The videos to review, and the decisions of this call.

    Attributes:
      page: the HTML file; None if only decisions were entered.
      quarantined: number of videos that are held back.
      undecided: number of those without a decision.
      released, dropped: ids decided in this call.
    """

    page: str | None
    quarantined: int
    undecided: int
    released: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.quarantined} videos are quarantined, {self.undecided} of them undecided."]
        if self.released:
            lines.append(f"Released: {', '.join(self.released)}. Run the same anonymize command again.")
        if self.dropped:
            lines.append(f"Dropped: {', '.join(self.dropped)}.")
        if self.page:
            lines.append(f"{self.page} shows people as they are: do not share it.")
        return "\n".join(lines)


def review(
    out: LocalPath,
    page: LocalPath | None = None,
    *,
    release: Sequence[str] = (),
    drop: Sequence[str] = (),
    by: str = "",
    because: str = "",
) -> ReviewResult:
    """Write the page of an output folder's quarantined videos, or enter decisions about some of them.

    Args:
      out: a folder that `anonymize` wrote.
      page: the HTML file, `OUT-review.html` beside the folder by default.
      release, drop: ids of quarantined videos.
      by, because: the reviewer, and the justification; required for a decision.
    """
    out = Path(out)
    rows = manifest.read_manifest(out)
    if not rows:
        raise UserError(f"{out} has no manifest of anonymize; give the folder that it wrote.")
    for name in (*release, *drop):
        if name not in rows:
            raise UserError(f"The manifest of {out} has no video {name!r}.")
        if name in release and name in drop:
            raise UserError(f"The video {name!r} cannot be both released and dropped.")
    for name in release:
        decisions.enter(out, rows[name], "release", by=by, because=because)
    for name in drop:
        decisions.enter(out, rows[name], "drop", by=by, because=because)
    held = [row for row in rows.values() if row.status == "quarantined"]
    record = decisions.read(out)
    undecided = [row for row in held if not decisions.of(record, row)]
    written = None
    if not (release or drop):
        written = Path(page) if page else out.resolve().with_name(f"{out.resolve().name}-review.html")
        _write(written, out, [_case(row, decisions.of(record, row)) for row in held])
    return ReviewResult(
        page=str(written) if written else None,
        quarantined=len(held),
        undecided=len(undecided),
        released=tuple(release),
        dropped=tuple(drop),
    )


def _case(row: Row, record: list[decisions.Decision]) -> ReviewCase:
    numbers = json.loads(row.metrics).get("frames") or frame_indices(max(row.num_frames, 1), FRAMES)
    shots: tuple[ReviewFrame, ...] = ()
    missing = ""
    try:
        pictures = reader.read_frames(original(row.source, row.source_sha256), numbers)
        shots = tuple(ReviewFrame(frame=n, picture=_small(p)) for n, p in zip(numbers, pictures, strict=True))
    except UserError as error:
        missing = str(error)
    return ReviewCase(
        video_id=row.video_id,
        reasons=tuple(row.reason.split(decisions.BETWEEN)),
        shots=shots,
        missing=missing,
        decided=tuple(f"{d.decision} by {d.by}, {d.at}: {d.because}" for d in record),
    )


def _small(frame_HW3: np.ndarray) -> str:
    height = max(1, round(frame_HW3.shape[0] * WIDTH_PX / frame_HW3.shape[1]))
    return jpeg_uri(cv2.resize(frame_HW3, (WIDTH_PX, height), interpolation=cv2.INTER_AREA))


def _write(path: Path, out: Path, cases: list[ReviewCase]) -> None:
    files.require_unpublished(path, [out])
    text = pages.render("review.html", out=str(out), cases=cases)
    with files.atomic_path(path, of=out) as temporary:
        temporary.touch(mode=0o600)
        temporary.write_text(text, encoding="utf-8")
        os.chmod(temporary, 0o600)
