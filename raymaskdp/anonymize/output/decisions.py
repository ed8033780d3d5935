"""Reviewers' decisions about quarantined videos: an append-only log with one line each.

A release accepts the reasons that a reviewer has seen, of one source file under one configuration. If either
changes, or there are other reasons, the video is quarantined again. Measured failures, such as surviving
source pixels, cannot be released.
"""

from __future__ import annotations

import datetime
import json
import logging
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from raymaskdp import places, storage
from raymaskdp.anonymize.output.manifest import Row
from raymaskdp.errors import UserError
from raymaskdp.files import end_last_line
from raymaskdp.places import Place

DECISIONS = "decisions.jsonl"
_BEGIN = '{"video_id": "'
"""The beginning of each line of the log."""

BETWEEN = "; "
"""The separator of the reasons in a row."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """A reviewer's decision on one quarantined video.

    Attributes:
      video_id, source_sha256, config_sha256: the reviewed video, source and configuration.
      decision: "release" or "drop".
      reasons: the reasons of the quarantine that the reviewer saw.
      by, because: the reviewer, and the justification.
      at: time, UTC.
    """

    video_id: str
    source_sha256: str
    config_sha256: str
    decision: Literal["release", "drop"]
    reasons: str
    by: str
    because: str
    at: str


def read(out: Place) -> list[Decision]:
    """All decisions of an output folder, the oldest first; raises `UserError` if the log is damaged."""
    path: Place
    if isinstance(out, str):
        path = places.join(out, DECISIONS)
        text = b"".join(storage.read_all([path]).values()).decode(errors="replace")
    else:
        path = out / DECISIONS
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    found = []
    lines = text.splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            found.append(Decision(**json.loads(line)))
        except (ValueError, TypeError) as error:
            last = isinstance(out, Path) and number == len(lines) and not text.endswith("\n")
            if last and _is_torn(line):
                _log.warning("The last line of %s is incomplete and is ignored; decide that again.", path)
                break
            raise UserError(
                f"Line {number} of {path} is not a decision; restore the file, or move it away."
            ) from error
    return found


def _is_torn(line: str) -> bool:
    """Whether a line is the beginning of a decision, left by a process that was killed."""
    if not (line.startswith(_BEGIN) or _BEGIN.startswith(line)):
        return False
    try:
        json.loads(line)
    except ValueError:
        return True
    return False


def _require_own(out: Path) -> None:
    """Raise `UserError` if the log is another file of the user's, or a link to one."""
    path = out / DECISIONS
    if os.path.lexists(path) and (path.is_symlink() or not path.is_file()):
        raise UserError(f"{path} is a link, or not a file, and is not written to; move it away.")
    read(out)


def enter(out: Path, row: Row, decision: Literal["release", "drop"], *, by: str, because: str) -> Decision:
    """Append a decision to the log. Raises `UserError` without a name and a reason, or for another status."""
    if row.status != "quarantined":
        raise UserError(
            f"The video {row.video_id} is {row.status}, not quarantined; there is nothing to decide."
        )
    if not by.strip() or not because.strip():
        raise UserError("A decision needs a name and a reason; give --by NAME and --because TEXT.")
    entered = Decision(
        video_id=row.video_id,
        source_sha256=row.source_sha256,
        config_sha256=row.config_sha256,
        decision=decision,
        reasons=row.reason,
        by=" ".join(by.split()),
        because=" ".join(because.split()),
        at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    _require_own(out)
    if end_last_line(out / DECISIONS):
        _log.warning("The last line of %s is incomplete and is removed; decide that again.", out / DECISIONS)
    with open(out / DECISIONS, "a", encoding="utf-8") as record:
        record.write(json.dumps(asdict(entered), ensure_ascii=False) + "\n")
        record.flush()
        os.fsync(record.fileno())
    return entered


def of(decisions: Iterable[Decision], row: Row) -> list[Decision]:
    """The decisions on the video, source and configuration of a row."""
    wanted = (row.video_id, row.source_sha256, row.config_sha256)
    return [d for d in decisions if (d.video_id, d.source_sha256, d.config_sha256) == wanted]


def accepted(decisions: Iterable[Decision], row: Row) -> tuple[str, ...]:
    """Reasons that no longer hold the video back; none after it was dropped."""
    found = of(decisions, row)
    if not found or found[-1].decision == "drop":
        return ()
    return tuple(reason for d in found if d.decision == "release" for reason in d.reasons.split(BETWEEN))


def overruled(released: Iterable[str], row: Row) -> bool:
    """Whether a row is held back by a reason that was released since; the video is then processed again."""
    return row.status == "quarantined" and bool(set(row.reason.split(BETWEEN)) & set(released))
