"""Stored results of an unfinished video: its analysis, and its complete chunks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from raymaskdp.anonymize.item import Analyzed, Decided, InWork, Item
from raymaskdp.anonymize.output.chunks import Chunks, folder_of
from raymaskdp.anonymize.output.secret import SecretFile
from raymaskdp.files import atomic_path, write_json


def chunks_folder(
    chunks: Path | None, secret: SecretFile, item: Item, source_sha256: str, config_sha256: str
) -> Path | None:
    """The folder of a video's chunks inside the folder `chunks`; None if chunks are not kept."""
    if chunks is None or not source_sha256:
        return None
    return folder_of(
        chunks,
        {
            "source": source_sha256,
            "config": config_sha256,
            "video": item.record.video_id,
            "subject": item.record.subject,
            "secret": secret.check,
            "released": item.released,
        },
    )


def forget_chunks(chunks: Path | None, secret: SecretFile, decided: Decided, config_sha256: str) -> None:
    """Remove the stored results of a decided video."""
    folder = chunks_folder(chunks, secret, decided, decided.source_sha256, config_sha256)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def chunks_of(item: InWork, folder: Path, seconds: float) -> Chunks:
    """The chunks of a video; a different background gives different chunks."""
    films = folder / (Path(item.views).stem if item.views else "alone")
    films.mkdir(mode=0o700, parents=True, exist_ok=True)
    length = max(1, round(seconds * float(item.info.fps)))
    return Chunks(folder=films, num_frames=item.info.num_frames, length=length)


def save_analysis(folder: Path, item: Analyzed) -> None:
    """Store the analysis of a video."""
    with atomic_path(folder / "analysis", ours=True) as temporary:
        temporary.write_bytes(item.packed())
    write_json(
        folder / "analysis.json", {"num_people": item.num_people, "metrics": dict(item.metrics)}, ours=True
    )


def load_analysis(folder: Path) -> dict[str, Any] | None:
    """The stored analysis, as fields of `Analyzed`; or None."""
    if not (folder / "analysis.json").is_file():
        return None
    kept = json.loads((folder / "analysis.json").read_text(encoding="utf-8"))
    return kept | {"analysis": (folder / "analysis").read_bytes()}
