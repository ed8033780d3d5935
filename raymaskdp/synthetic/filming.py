"""Render a scene: dress people, light the room, render every frame, and write the ground truth."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from raymaskdp import files
from raymaskdp.bodies.body import Body, load_body
from raymaskdp.bodies.figure import Figure, dress
from raymaskdp.bodies.render import Renderer
from raymaskdp.bodies.settings.render import Light, RenderConfig
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.synthetic import rooms
from raymaskdp.synthetic.cameras import moved
from raymaskdp.synthetic.config import SynthesizeConfig
from raymaskdp.synthetic.draw_people import cast, manners
from raymaskdp.synthetic.image_effects import cast_shadow, clean_picture, through_lens, to_camera
from raymaskdp.synthetic.perform import perform
from raymaskdp.video.masks import pack
from raymaskdp.video.writer import VideoWriter

# Shape suffixes: P people in a video, T frames, V vertices, J = 52 joints, H rows, W columns.


@dataclass(frozen=True, kw_only=True)
class PlannedVideo:
    """A video to render: its action, people and place."""

    people: tuple[int, ...]
    action: str
    take: int
    room: int
    camera: int
    split: str

    @property
    def video_id(self) -> str:
        who = "-".join(f"p{person:02d}" for person in self.people)
        return f"{self.action}_{who}_t{self.take:02d}"

    def is_filmed(self, folder: Path) -> bool:
        """Whether all files of the video are in `folder`; the empty room is the last that is written."""
        return any(
            (folder / "truth" / f"{self.video_id}.background.{end}").is_file() for end in ("png", "mp4")
        )

    def record(self, folder: Path, *, fixed: bool) -> VideoRecord:
        return VideoRecord(
            video_id=self.video_id,
            path=str(folder / "videos" / f"{self.video_id}.mp4"),
            label=self.action,
            split=self.split,
            subject="+".join(f"person{person:02d}" for person in self.people),
            camera=f"room{self.room:02d}-camera{self.camera}" if fixed else None,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Set:
    """A room as seen by one of its cameras, with its light."""

    room: rooms.Room
    camera: rooms.RoomCamera
    view: rooms.RoomView
    light: Light
    lamp: np.ndarray


FIGURES, SETS = 64, 32
"""Dressed people and lit rooms that are kept. A dressed person takes 20 MiB and a third of a second."""


class Studio:
    """Renders scenes. Dressed people and lit rooms are cached."""

    def __init__(self, settings: SynthesizeConfig) -> None:
        self._settings = settings
        self._body: Body = load_body()
        self._cast = cast(settings)
        self._manners = manners(settings)
        self._renderer = Renderer(RenderConfig())
        self._figure = functools.lru_cache(FIGURES)(lambda who: dress(self._body, self._cast[who]))
        self._set = functools.lru_cache(SETS)(self._build_set)

    def close(self) -> None:
        """Free the renderer."""
        self._renderer.close()

    def film(self, scene: PlannedVideo, folder: Path) -> None:
        """Write the video and the ground truth of a scene."""
        settings = self._settings
        width, height = settings.width, settings.height
        stage = self._set(scene.room, scene.camera)
        index = settings.actions.index(scene.action)
        rng = np.random.default_rng([settings.seed, 3, index, scene.take, *scene.people])
        cameras_T = moved(
            stage.camera,
            settings.motion,
            frames=settings.frames,
            fps=settings.fps,
            rng=np.random.default_rng([settings.seed, 7, index, scene.take, *scene.people]),
        )
        actors = [
            self._act(scene.action, person, place, cameras_T, rng)
            for person, place in self._places(scene, rng)
        ]
        masks = np.zeros((settings.frames, height, width), dtype=bool)
        video = folder / "videos" / f"{scene.video_id}.mp4"
        with (
            files.atomic_path(video) as temporary,
            VideoWriter(temporary, width=width, height=height, fps=settings.fps) as writer,
        ):
            for frame, camera in enumerate(cameras_T):
                view = self._view(stage, camera)
                people = [(actor.figure, actor.vertices_TV3[frame]) for actor in actors]
                drawn = self._renderer.render(
                    people, camera.intrinsics_33, width=width, height=height, light=stage.light
                )
                masks[frame] = drawn.mask_HW
                shade_HW = view.floor_HW * cast_shadow(
                    camera, stage.lamp, [actor.world_TV3[frame] for actor in actors], width, height
                )
                picture = view.color_HW3 * (1 - 0.5 * shade_HW[..., None])
                picture[drawn.mask_HW] = drawn.color_HW3[drawn.mask_HW]
                picture = through_lens(picture) + settings.noise * rng.standard_normal(
                    picture.shape, dtype=np.float32
                )
                writer.write(np.clip(np.rint(picture), 0, 255).astype(np.uint8))
        self._write_truth(scene, folder, actors, masks, stage, cameras_T)

    def _write_truth(
        self,
        scene: PlannedVideo,
        folder: Path,
        actors: list[_Performer],
        masks: np.ndarray,
        stage: _Set,
        cameras_T: tuple[rooms.RoomCamera, ...],
    ) -> None:
        truth = folder / "truth" / f"{scene.video_id}.npz"
        intrinsics = stage.camera.intrinsics_33
        joints3d = np.stack([actor.joints_TJ3 for actor in actors])
        joints2d = joints3d[..., :2] / joints3d[..., 2:] * np.diag(intrinsics)[:2] + intrinsics[:2, 2]
        with files.atomic_path(truth) as temporary:
            np.savez_compressed(
                temporary,
                joints2d=joints2d.astype(np.float32),
                joints3d=joints3d.astype(np.float32),
                rotations=np.stack([actor.rotations_TJ3 for actor in actors]),
                translation=np.stack([actor.translation_T3 for actor in actors]),
                betas=np.stack([self._cast[person].betas_S for person in scene.people]),
                camera=intrinsics,
                masks=pack(masks),
                height=np.int32(self._settings.height),
                width=np.int32(self._settings.width),
                fps=np.float64(self._settings.fps),
            )
        if self._settings.motion == "static":
            with files.atomic_path(folder / "truth" / f"{scene.video_id}.background.png") as temporary:
                cv2.imwrite(str(temporary), clean_picture(stage.view)[..., ::-1])
            return
        settings, path = self._settings, folder / "truth" / f"{scene.video_id}.background.mp4"
        width, height = settings.width, settings.height
        with (
            files.atomic_path(path) as temporary,
            VideoWriter(temporary, width=width, height=height, fps=settings.fps, lossless=True) as writer,
        ):
            for camera in cameras_T:
                writer.write(clean_picture(self._view(stage, camera)))

    def _view(self, stage: _Set, camera: rooms.RoomCamera) -> rooms.RoomView:
        """The empty room as a camera of the set sees it in one frame."""
        if camera is stage.camera:
            return stage.view
        return rooms.view(stage.room, camera, width=self._settings.width, height=self._settings.height)

    def _places(self, scene: PlannedVideo, rng: np.random.Generator) -> Iterator[tuple[int, np.ndarray]]:
        """The place of each person: (person, [x, z, heading])."""
        for number, person in enumerate(scene.people):
            beside = (number - (len(scene.people) - 1) / 2) * 1.25
            x, z = rng.uniform(-self._settings.spread, self._settings.spread, 2)
            yield person, np.array([beside + x, z, rng.uniform(-0.6, 0.6)])

    def _act(
        self,
        action: str,
        person: int,
        place: np.ndarray,
        cameras_T: tuple[rooms.RoomCamera, ...],
        rng: np.random.Generator,
    ) -> _Performer:
        settings = self._settings
        figure = self._figure(person)
        done = perform(
            action, num_frames=settings.frames, fps=settings.fps, manner=self._manners[person], rng=rng
        )
        rotations_TJ3 = done.rotations_TJ3.copy()
        turns_T33 = np.array([camera.rotation_33 for camera in cameras_T])
        shifts_T3 = np.array([camera.translation_3 for camera in cameras_T])
        # People look roughly at the camera, wherever it is.
        eye = -turns_T33[0].T @ shifts_T3[0]
        heading = Rotation.from_euler("y", place[2] + np.arctan2(eye[0] - place[0], eye[2] - place[1]))
        in_world = heading * Rotation.from_rotvec(done.rotations_TJ3[:, 0])
        rotations_TJ3[:, 0] = in_world.as_rotvec()
        betas = self._cast[person].betas_S
        pelvis = self._body.rest_joints(betas)[0]
        # Stand on the floor: the lowest vertex of every frame is `lift` above it.
        world_TV3 = figure.pose(rotations_TJ3, np.zeros((settings.frames, 3), dtype=np.float32))
        shift_T3 = np.stack(
            [
                np.full(settings.frames, place[0]),
                done.lift_T - world_TV3[..., 1].min(axis=1),
                np.full(settings.frames, place[1]),
            ],
            axis=1,
        )
        world_TV3 = (world_TV3 + shift_T3[:, None]).astype(np.float32)
        rotations_TJ3[:, 0] = (Rotation.from_matrix(turns_T33) * in_world).as_rotvec()
        # smplx rotates about the rest position of the pelvis and then shifts.
        centre_T3 = np.einsum("tij,tj->ti", turns_T33, pelvis + shift_T3) + shifts_T3
        translation_T3 = (centre_T3 - pelvis).astype(np.float32)
        return _Performer(
            figure=figure,
            world_TV3=world_TV3,
            vertices_TV3=to_camera(turns_T33, shifts_T3, world_TV3),
            rotations_TJ3=rotations_TJ3.astype(np.float32),
            translation_T3=translation_T3,
            joints_TJ3=self._body.joints(rotations_TJ3, translation_T3, betas),
        )

    def _build_set(self, room_index: int, camera_index: int) -> _Set:
        settings = self._settings
        room = rooms.draw_room(np.random.default_rng([settings.seed, 4, room_index]))
        rng = np.random.default_rng([settings.seed, 5, room_index, camera_index])
        # The image covers about 2.5 m at the person's place: tall people with raised arms just fit.
        nearest, farthest = settings.camera_distance
        focal = 0.4 * (nearest + farthest) / 2 * settings.height
        away = rng.uniform(nearest, farthest) * (1.0 if settings.persons_per_video == 1 else 1.2)
        side = rng.uniform(-0.55, 0.55)
        eye = np.array([away * np.sin(side), rng.uniform(*settings.camera_height), away * np.cos(side)])
        camera = rooms.look_at(
            eye, np.array([0.0, 1.07, 0.0]), focal=focal, width=settings.width, height=settings.height
        )
        view = rooms.view(room, camera, width=settings.width, height=settings.height)
        toward = camera.rotation_33 @ (room.lamp - [0.0, 1.2, 0.0])
        ambient, key = (tuple(float(c) for c in strength * room.color) for strength in (0.5, 0.55))
        light = Light(ambient=ambient, key=key, direction=tuple(float(c) for c in toward))  # type: ignore[arg-type]
        return _Set(room=room, camera=camera, view=view, light=light, lamp=room.lamp)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Performer:
    """One person's take, in world and camera coordinates."""

    figure: Figure
    world_TV3: np.ndarray
    vertices_TV3: np.ndarray
    rotations_TJ3: np.ndarray
    translation_T3: np.ndarray
    joints_TJ3: np.ndarray
