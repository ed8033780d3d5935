"""A small known video, to test a machine on which videos fail.

It is drawn here, and its analysis is known: one person, who stands still. So the stages can be tested with it
whatever the source of poses is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from raymaskdp.anonymize.compose.scene import Scene
from raymaskdp.anonymize.compose.synthesis.drawn import DrawnFrame
from raymaskdp.anonymize.item import Analyzed, Decided
from raymaskdp.bodies.motion import Motion
from raymaskdp.bodies.render import Rendered
from raymaskdp.bodies.skeleton import NUM_JOINTS
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.errors import UserError
from raymaskdp.files import sha256_file
from raymaskdp.video import masks, sandbox
from raymaskdp.video.containers.same_file import look
from raymaskdp.video.mask_film import MaskFilm
from raymaskdp.video.sandbox import DecodeLimits
from raymaskdp.video.writer import VideoWriter

HEIGHT, WIDTH, FRAMES, FPS = 72, 96, 6, Fraction(12)
PERSON = (slice(12, 64), slice(36, 60))
"""Rows and columns of the person."""

FOCAL_PX, DISTANCE_M = 80.0, 3.0


def known_item(folder: Path, limits: DecodeLimits) -> Analyzed:
    """The video, written to `folder` and probed as any other, with its analysis.

    Raises `UserError` if it does not decode to the written frames.
    """
    path = folder / "known.mp4"
    room_HW3 = _room()
    room_HW3[PERSON] = (40, 60, 160)
    with VideoWriter(path, width=WIDTH, height=HEIGHT, fps=FPS) as writer:
        for _ in range(FRAMES):
            writer.write(room_HW3)
    info = sandbox.probe(path, limits)
    if (info.width, info.height, info.num_frames) != (WIDTH, HEIGHT, FRAMES):
        raise UserError(f"A video of {FRAMES} frames of {WIDTH}×{HEIGHT} is read as {info}.")
    record = VideoRecord(video_id=path.stem, path=str(path))
    return Analyzed(
        record=record,
        source_sha256=sha256_file(path),
        source_seen=look(path),
        info=info,
        num_people=1,
        analysis=_scene().pack(),
    )


def known_frames(scene: Scene) -> Iterator[DrawnFrame]:
    """Drawn frames of the known video that need no renderer: a flat avatar in the place of the person."""
    inside_HW = np.zeros((HEIGHT, WIDTH), bool)
    inside_HW[PERSON] = True
    at_HW1 = inside_HW[..., None]
    avatar = Rendered(
        color_HW3=at_HW1 * np.array([60, 120, 90], np.uint8),
        depth_HW=np.where(inside_HW, DISTANCE_M, 0).astype(np.float32),
        mask_HW=inside_HW,
        normals_HW3=at_HW1 * np.array([0, 0, -1], np.float32),
    )
    pixels = int(np.count_nonzero(inside_HW))
    none = dict.fromkeys(("background", "filled", "blank", "blanked", "changed", "surviving"), 0)
    for index in range(scene.num_frames):
        yield DrawnFrame(
            index=index,
            emptied_HW3=_room(),
            removed_HW=inside_HW,
            drawn=avatar,
            counts=none | {"masked": pixels, "avatar_pixels": pixels},
        )


def require_drawn(frames: Iterable[DrawnFrame]) -> None:
    """Raise `UserError` for frames of the known video without an avatar in one of them."""
    drawn = [frame.drawn.mask_HW.any() for frame in frames]
    if len(drawn) != FRAMES or not all(drawn):
        raise UserError("Nothing is drawn where an avatar should be.")


def require_avatar(made: Decided) -> None:
    """Raise `UserError` for a known video that was finished without an avatar in it."""
    if not made.metrics.get("avatar_fraction", 0.0) > 0:
        raise UserError("Nothing is drawn where an avatar should be.")


def _room() -> np.ndarray:
    """The room without the person, uint8 [H, W, 3]."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([120 + rows, 90 + columns // 2, 100 + (rows + columns) // 4], -1).astype(np.uint8)


def _scene() -> Scene:
    mask_HW = np.zeros((HEIGHT, WIDTH), bool)
    mask_HW[PERSON] = True
    packed_TB = np.repeat(masks.pack(mask_HW)[None], FRAMES, 0)
    rotations_TJ3 = np.zeros((FRAMES, NUM_JOINTS, 3), np.float32)
    rotations_TJ3[:, 0, 0] = np.pi  # the body's y is up, the camera's down
    shown_T = np.ones(FRAMES, bool)
    motion = Motion(
        rotations_TJ3=rotations_TJ3,
        translation_T3=np.tile(np.array([0, 0, DISTANCE_M], np.float32), (FRAMES, 1)),
        visible_T=shown_T,
        betas_S=np.zeros(10, np.float32),
        camera_33=np.array([[FOCAL_PX, 0, WIDTH / 2], [0, FOCAL_PX, HEIGHT / 2], [0, 0, 1.0]]),
        track_id=0,
    )
    nothing = MaskFilm(FRAMES, packed_TB.shape[1])
    return Scene(
        height=HEIGHT,
        width=WIDTH,
        masks_PTB=(packed_TB,),
        visible_PT=shown_T[None],
        motions=(motion,),
        doubts_TB=nothing,
        doubts_T=np.zeros(FRAMES, np.int64),
        things_TB=nothing,
        text_TB=nothing,
    )
