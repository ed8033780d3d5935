"""Notes of a run for the user: what was ignored, kept, or cannot be known; a sentence each."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from raymaskdp import places
from raymaskdp.anonymize.output.manifest import Row

NAMED = 5
"""Number of files that a note names."""


def ignored(names: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Ignored files of the source, a sentence for each reason."""
    for reason, those in names.items():
        yield places.printable(f"{len(those)} ignored, {reason}: {_few(those)}")


def _few(names: Sequence[str]) -> str:
    """Some of the names, and the number of the others."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(map(places.visible, names[:NAMED]))}{more}"


def kept_verdicts(rows: Collection[Row]) -> Iterator[str]:
    """A note that earlier outputs of videos that failed now are kept, by verdict."""
    for status, kept in (("done", "with its files"), ("quarantined", "held back")):
        names = [row.video_id for row in rows if row.status == status]
        if names:
            left = f"stay {status}, {kept}, from an earlier run"
            yield f"{len(names)} failed now and {left}: {_few(names)}"


def without_checksums(rows: Iterable[Row]) -> Iterator[str]:
    """A note on videos in which neither a checksum nor a decoder would detect damaged frames."""
    names = [
        row.video_id for row in rows if row.status == "done" and '"source_integrity": "none"' in row.metrics
    ]
    if names:
        yield f"{len(names)} with a codec that does not detect damaged frames (docs/limits.md): {_few(names)}"


def listed_again(rows: Collection[str]) -> Iterator[str]:
    """A note on finished videos that were missing in the manifest."""
    if rows:
        yield f"{len(rows)} finished before, but missing in the manifest: {_few(sorted(rows))}; now added"
