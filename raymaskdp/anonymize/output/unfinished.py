"""What is kept of an unfinished video: its analysis, and the pieces that are finished."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from raymaskdp.anonymize.item import Analyzed, Decided, Item
from raymaskdp.anonymize.output.chunks import Pieces, folder_of
from raymaskdp.anonymize.output.secret import SecretFile
from raymaskdp.files import atomic_path, write_json


def pieces_folder(
    pieces: Path | None, secret: SecretFile, item: Item, source_sha256: str, config_sha256: str
) -> Path | None:
    """Where in the folder `pieces` that lies which is finished of a video; None where nothing is kept."""
    if pieces is None or not source_sha256:
        return None
    return folder_of(
        pieces,
        {
            "source": source_sha256,
            "config": config_sha256,
            "video": item.record.video_id,
            "subject": item.record.subject,
            "secret": secret.check,
            "released": item.released,
        },
    )


def forget_pieces(pieces: Path | None, secret: SecretFile, decided: Decided, config_sha256: str) -> None:
    """Remove what was kept of a video that is decided."""
    folder = pieces_folder(pieces, secret, decided, decided.source_sha256, config_sha256)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def pieces_of(item: Analyzed, folder: Path, seconds: float) -> Pieces:
    """The pieces of a video; those made with another background are others."""
    films = folder / (Path(item.views).stem if item.views else "alone")
    films.mkdir(mode=0o700, parents=True, exist_ok=True)
    length = max(1, round(seconds * float(item.info.fps)))
    return Pieces(folder=films, num_frames=item.info.num_frames, length=length)


def keep_analysis(folder: Path, item: Analyzed) -> None:
    """Keep the analysis of a video."""
    with atomic_path(folder / "analysis", ours=True) as temporary:
        temporary.write_bytes(item.packed())
    write_json(
        folder / "analysis.json", {"num_people": item.num_people, "metrics": dict(item.metrics)}, ours=True
    )


def kept_analysis(folder: Path) -> dict[str, Any] | None:
    """What `keep_analysis` kept, as fields of `Analyzed`; or None."""
    if not (folder / "analysis.json").is_file():
        return None
    kept = json.loads((folder / "analysis.json").read_text(encoding="utf-8"))
    return kept | {"analysis": (folder / "analysis").read_bytes()}
