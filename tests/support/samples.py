"""Miniature data in the anonymizer's output format: moving discs, with real videos and masks."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd

from raymaskdp.files import sha256_file
from raymaskdp.video import masks
from raymaskdp.video.writer import VideoWriter

HEIGHT, WIDTH, FRAMES = 72, 96, 14
ACTIONS = ("across", "down", "still")


def write_anonymized(folder: Path, *, train: int = 12, test: int = 6, seed: int = 0) -> Path:
    """A folder like `anonymize` writes: `train` + `test` videos, and a quarantined one."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(train + test):
        label = ACTIONS[number % len(ACTIONS)]
        split = "train" if number < train else "test"
        video_id = f"v{number:03d}"
        write_video(folder, video_id, label, rng)
        row = {**_row(video_id, label, split, number % 4), "path": f"{video_id}.mp4"}
        rows.append({**row, "status": "done", "reason": ""})
        write_provenance(folder, rows[-1])
    rows.append(
        {
            **_row("hidden", "still", "train", 0),
            "path": None,
            "status": "quarantined",
            "reason": "frame 3: a person",
        }
    )
    pd.DataFrame(rows).to_parquet(folder / "manifest.parquet")
    return folder


def write_video(folder: Path, video_id: str, label: str, rng: np.random.Generator) -> None:
    """One video, its avatar layer and its masks."""
    room = rng.integers(40, 216, size=(HEIGHT // 6, WIDTH // 6, 3)).repeat(6, 0).repeat(6, 1).astype(np.uint8)
    skin = rng.integers(60, 250, size=3)
    radius = rng.integers(12, 16)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    covered = []
    with (
        VideoWriter(folder / f"{video_id}.mp4", width=WIDTH, height=HEIGHT, fps=12) as composite,
        VideoWriter(
            folder / f"{video_id}.avatar.mp4", width=WIDTH, height=HEIGHT, fps=12, lossless=True
        ) as layer,
    ):
        for time in range(FRAMES):
            along = 20 + 4 * time
            centre = {"across": (36, along), "down": (min(along, 52), 48), "still": (36, 48)}[label]
            inside = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2
            shade = np.clip(skin + rng.integers(-20, 20, size=(HEIGHT, WIDTH, 3)), 1, 255).astype(np.uint8)
            layer.write(np.where(inside[..., None], shade, 0).astype(np.uint8))
            # The composite blends avatar and room, as a refined one may.
            mixed = (0.7 * shade + 0.3 * room).astype(np.uint8)
            composite.write(np.where(inside[..., None], mixed, room))
            covered.append(inside)
    np.savez(
        folder / f"{video_id}.npz",
        avatar_masks=masks.pack(np.stack(covered)),
        person_masks=masks.pack(np.stack(covered)),
        height=np.int32(HEIGHT),
        width=np.int32(WIDTH),
        fps=np.float64(12),
    )


def write_provenance(folder: Path, row: dict[str, object]) -> None:
    """What `anonymize` writes about a video, of the files as they are."""
    names = [f"{row['video_id']}{suffix}" for suffix in (".mp4", ".avatar.mp4", ".npz")]
    about = {name: row[name] for name in ("video_id", "source_sha256", "config_sha256")}
    digests = {name: sha256_file(folder / name) for name in names}
    (folder / f"{row['video_id']}.json").write_text(json.dumps({**about, "outputs": digests, "row": row}))


def _row(video_id: str, label: str, split: str, subject: int) -> dict[str, object]:
    return {
        "video_id": video_id,
        "source": f"/source/{video_id}.avi",
        "label": label,
        "split": split,
        "subject": f"s{subject}",
        "camera": "c0",
        "num_frames": FRAMES,
        "width": WIDTH,
        "height": HEIGHT,
        "fps": 12.0,
        "num_people": 1,
        "seconds": 0.1,
        "source_sha256": video_id.encode().hex().ljust(64, "0"),
        "config_sha256": "c" * 64,
        "metrics": "{}",
    }


def everything(folder: Path) -> dict[str, str]:
    """Digests of all files below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
