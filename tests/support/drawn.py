"""Sources and anonymized videos in the real formats, drawn in seconds: boxes for people, blocks for rooms.

Everything that can leak is a switch.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from raymaskdp.anonymize.item import Decided
from raymaskdp.anonymize.output import manifest
from raymaskdp.bodies.body import load_body
from raymaskdp.bodies.skeleton import NUM_JOINTS
from raymaskdp.datasets.manifest import VideoRecord, write_table
from raymaskdp.files import sha256_file
from raymaskdp.video import masks
from raymaskdp.video.reader import VideoInfo
from raymaskdp.video.writer import VideoWriter

T, H, W = 6, 96, 96


@dataclass(frozen=True, kw_only=True)
class Leak:
    """What is wrong with the anonymized videos: nothing, by default."""

    person_in: tuple[str, ...] = ()
    shape_kept: bool = False
    layer_mixed: float = 0.0
    colours_kept: bool = False


def draw(folder: Path, leak: Leak, *, people: int = 6, takes: int = 3) -> tuple[Path, Path]:
    """Write `folder`/sources (with a manifest and truths) and `folder`/anonymized; returns both."""
    rng = np.random.default_rng(5)
    sources, out = folder / "sources", folder / "anonymized"
    for place in (sources / "videos", sources / "truth", out):
        place.mkdir(parents=True)
    persons = [(rng.integers(0, 256, (4, 3)), rng.normal(size=10).astype(np.float32)) for _ in range(people)]
    avatars = [(rng.integers(0, 256, (4, 3)), rng.normal(size=10).astype(np.float32)) for _ in range(people)]
    records, rows = [], []
    for person in range(people):
        for take in range(takes):
            video_id = f"p{person}_t{take}"
            record = VideoRecord(
                video_id=video_id,
                path=str(sources / "videos" / f"{video_id}.mp4"),
                label=("up", "down")[take % 2],
                split="test" if person == 0 else "train",
                subject=f"person{person}",
            )
            colours, betas = avatars[person]
            if leak.colours_kept:
                colours = persons[person][0]
            if leak.shape_kept:
                betas = persons[person][1]
            _write(record, sources, out, persons[person], (colours, betas), leak, rng)
            records.append(record)
            info = VideoInfo(width=W, height=H, fps=Fraction(10), num_frames=T)
            item = Decided(
                record=record, status="done", info=info, num_people=1, source_sha256=sha256_file(record.path)
            )
            rows.append(manifest.row_of(item, "c"))
    write_table(sources / "manifest.parquet", records)
    manifest.write_manifest(out, rows)
    return sources, out


def _write(record, sources, out, person, avatar, leak, rng) -> None:
    room = rng.integers(30, 226, (6, 6, 3)).repeat(16, 0).repeat(16, 1)
    shown = {"source": [], "output": [], "layer": []}
    person_THW, avatar_THW = np.zeros((T, H, W), bool), np.zeros((T, H, W), bool)
    for time in range(T):
        step = 3 * time if record.label == "up" else -3 * time
        place, other = np.array([10 + abs(step) // 3, 34 + step]), np.array([12, 36 + step])
        person_THW[time] = _body(np.zeros((H, W, 3)), place, 78, 30, np.ones((4, 3)))[..., 0] > 0
        avatar_THW[time] = _body(np.zeros((H, W, 3)), other, 76, 26, np.ones((4, 3)))[..., 0] > 0
        grain = rng.normal(0, 9, (H, W, 3))  # of the camera, on the person as well
        live = room + grain
        source = _body(live.copy(), place, 78, 30, person[0] + rng.normal(0, 9, (1, 3)))
        source = np.where(person_THW[time][..., None], source + grain, source)
        layer = _body(np.zeros((H, W, 3)), other, 76, 26, avatar[0])
        layer = layer + avatar_THW[time][..., None] * rng.normal(0, 9, (H, W, 3))
        layer = np.where(avatar_THW[time][..., None], np.clip(layer, 1, 255), 0)
        output = np.where(
            avatar_THW[time][..., None], layer, np.where(person_THW[time][..., None], room, live)
        )
        mixed = (1 - leak.layer_mixed) * layer + leak.layer_mixed * source
        layer = np.where(avatar_THW[time][..., None], mixed, 0)
        if record.video_id in leak.person_in:
            output = source
        for name, frame in (("source", source), ("output", output), ("layer", layer)):
            shown[name].append(np.clip(frame, 0, 255).astype(np.uint8))
    for name, path in (
        ("source", Path(record.path)),
        ("output", out / f"{record.video_id}.mp4"),
        ("layer", out / f"{record.video_id}.avatar.mp4"),
    ):
        with VideoWriter(path, width=W, height=H, fps=10, lossless=name == "layer") as writer:
            for frame in shown[name]:
                writer.write(frame)
    _write_poses(record, sources, out, person[1], avatar[1], person_THW, avatar_THW, rng)


def _write_poses(record, sources, out, person_betas, avatar_betas, person_THW, avatar_THW, rng) -> None:
    rotations = rng.normal(0, 0.2, (T, NUM_JOINTS, 3)).astype(np.float32).cumsum(0)
    translation = np.tile(np.array([0, 0, 3], np.float32), (T, 1))
    camera = np.array([[100, 0, W / 2], [0, 100, H / 2], [0, 0, 1]], np.float32)
    joints = load_body().joints(rotations, translation, person_betas)
    flat = joints @ camera.T
    np.savez(
        sources / "truth" / f"{record.video_id}.npz",
        joints3d=joints[None],
        joints2d=(flat[..., :2] / flat[..., 2:])[None],
        fps=np.float64(10),
    )
    np.savez(
        out / f"{record.video_id}.npz",
        rotations=rotations[None],
        translation=translation[None],
        betas=avatar_betas[None],
        visible=np.ones((1, T), bool),
        camera=camera,
        person_masks=masks.pack(person_THW),
        avatar_masks=masks.pack(avatar_THW),
        height=np.int32(H),
        width=np.int32(W),
        fps=np.float64(10),
    )


def _body(frame: np.ndarray, corner: np.ndarray, height: int, width: int, colours: np.ndarray) -> np.ndarray:
    """A box of four coloured parts, its upper left corner at (row, column)."""
    row, column = corner
    quarter = height // 4
    for part, colour in enumerate(colours):
        top = row + part * quarter
        frame[max(0, top) : top + quarter, max(0, column) : column + width] = colour
    return frame
