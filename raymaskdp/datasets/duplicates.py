"""Duplicate content: several ids with the same content are several records, each with its cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable


def duplicates(contents: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """A sentence for each content with several ids.

    Args:
      contents: pairs of a video's id and the digest of its content; "" if unknown.
    """
    by_content: defaultdict[str, list[str]] = defaultdict(list)
    for video_id, digest in contents:
        by_content[digest].append(video_id)
    return tuple(
        f"{' and '.join(sorted(names))} have the same content, but are {len(names)} records: with unit=video "
        f"their content has {len(names)} times the claimed ε"
        for digest, names in by_content.items()
        if digest and len(names) > 1
    )
