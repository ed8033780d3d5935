"""Sample data: labelled videos of rendered people in rooms, with everything about them known.

>>> synthesize("sample", SynthesizeConfig(people=2, actions=("wave",), frames=8))  # doctest: +SKIP
"""

from __future__ import annotations

import dataclasses
import functools
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
from annotated_types import Unit
from scipy.spatial.transform import Rotation
from tqdm import tqdm

from raymaskdp import check, config, files
from raymaskdp.bodies.avatar import Avatar, draw_avatar
from raymaskdp.bodies.body import Body, load_body
from raymaskdp.bodies.clothes.wardrobe import HAIRSTYLES, OUTFITS
from raymaskdp.bodies.figure import Figure, dress
from raymaskdp.bodies.render import Light, RenderConfig, Renderer
from raymaskdp.datasets.manifest import VideoRecord, write_table
from raymaskdp.errors import UserError
from raymaskdp.synthetic import rooms
from raymaskdp.synthetic.cameras import MOTIONS, moved
from raymaskdp.synthetic.perform import PERFORMED, perform
from raymaskdp.synthetic.poses import Manner, draw_manner
from raymaskdp.video.masks import pack
from raymaskdp.video.writer import VideoWriter

# Shape suffixes: P people in a video, T frames, V vertices, J = 52 joints, H rows, W columns.


@dataclass(frozen=True, kw_only=True)
class SynthesizeConfig:
    """What to film. Every person does every action `takes` times.

    Attributes:
      seed: of everything; the same configuration gives the same videos.
      actions: names in `actions.PERFORMED`; the labels.
      people: different people; each has one body, look, set of clothes and manner of moving.
      takes: videos a person and action.
      rooms, cameras: rooms, and cameras in each.
      camera_height, camera_distance: of the cameras, least and most, metres: above the floor, and along the
        floor from the middle of the room. Nearer cameras have wider lenses.
      motion: of the cameras, a name in `cameras.MOTIONS`.
      frames, fps, width, height: of every video.
      persons_per_video: people seen at once, doing the same action beside each other.
      spread: how far from the middle people stand, metres to each side and along the view; in recorded data
        sets it is some half a metre, and then others show what is behind somebody.
      test_share: share of the people (not of the videos) that are in the split "test".
      noise: standard deviation of the camera's noise, in 8-bit levels.
    """

    seed: Annotated[int, check.Range(0)] = 0
    actions: tuple[str, ...] = (
        "wave", "raise_arms", "clap", "jumping_jack", "squat", "kick", "walk", "bow",
    )  # fmt: skip
    people: Annotated[int, check.Range(1, 100_000)] = 12
    takes: Annotated[int, check.Range(1, 100_000)] = 1
    rooms: Annotated[int, check.Range(1, 100_000)] = 8
    cameras: Annotated[int, check.Range(1, 100_000)] = 2
    camera_height: tuple[float, float] = (1.2, 1.9)
    camera_distance: tuple[float, float] = (3.0, 3.5)
    motion: str = "static"
    frames: Annotated[int, check.Range(1, 100_000)] = 36
    fps: Annotated[float, check.Range(1, 240), Unit("frames/s")] = 12.0
    width: Annotated[int, check.Range(32, 4096), Unit("px")] = 192
    height: Annotated[int, check.Range(32, 4096), Unit("px")] = 144
    persons_per_video: int = 1
    spread: Annotated[float, check.Range(0, 1.5), Unit("m")] = 0.25
    test_share: Annotated[float, check.FRACTION] = 0.25
    noise: Annotated[float, check.Range(0, 50)] = 2.0

    def __post_init__(self) -> None:
        check.fields(self)
        check.in_range("persons_per_video", self.persons_per_video, low=1, high=min(2, self.people))
        check.one_of("motion", self.motion, MOTIONS)
        for name, (low, high), most in (
            ("camera_height", self.camera_height, 2.4), ("camera_distance", self.camera_distance, 4.0),
        ):  # fmt: skip
            check.in_range(f"{name}[0]", low, low=0.5, high=most)
            check.in_range(f"{name}[1]", high, low=low, high=most)
        if not self.actions:
            raise UserError("actions must name at least one action.")
        for action in self.actions:
            check.one_of("actions", action, PERFORMED)


@dataclass(frozen=True, kw_only=True)
class SynthesizeResult:
    """What was filmed.

    Attributes:
      manifest: path of the manifest.
      videos, people, actions, frames: how many.
    """

    manifest: str
    videos: int
    people: int
    actions: int
    frames: int

    def __str__(self) -> str:
        return (
            f"{self.videos} videos of {self.people} people and {self.actions} actions, {self.frames} frames: "
            f"{self.manifest}"
        )


def synthesize(out: str | Path, settings: SynthesizeConfig) -> SynthesizeResult:
    """Film the sample data into the folder `out`.

    Writes `manifest.parquet` (columns of `VideoRecord`), `videos/ID.mp4`, and for each video
    `truth/ID.npz` (`joints2d` [P, T, 52, 2] px, `joints3d` [P, T, 52, 3] and `translation` [P, T, 3] in
    camera metres, `rotations` [P, T, 52, 3], `betas` [P, 10], `camera` [3, 3], `masks` packed [T, …]: the
    pixels that show a person, `height`, `width`, `fps`) and `truth/ID.background.png`, the room alone; where
    the camera moves `truth/ID.background.mp4`, lossless. Videos of a moving camera have none in the manifest.

    A folder that already holds the same data is left as it is. Raises `UserError` where it holds other
    data, and where the renderer cannot start.
    """
    folder = Path(out)
    result = SynthesizeResult(
        manifest=str(folder / "manifest.parquet"),
        videos=len(settings.actions) * settings.people * settings.takes,
        people=settings.people,
        actions=len(settings.actions),
        frames=len(settings.actions) * settings.people * settings.takes * settings.frames,
    )
    if _is_finished(folder, settings):
        return result
    scenes = list(_scenes(settings))
    for _ in tqdm(_film_all(scenes, folder, settings), "synthesize", len(scenes), unit="video"):
        pass
    files.write_text(folder / "synthesize.yaml", config.to_yaml(settings))
    write_table(
        folder / "manifest.parquet",
        [scene.record(folder, fixed=settings.motion == "static") for scene in scenes],
    )
    return result


VIDEOS_A_PROCESS = 48
"""A process takes some seconds to start; with fewer videos than this, it is not worth it."""


def _film_all(scenes: list[_Scene], folder: Path, settings: SynthesizeConfig) -> Iterator[None]:
    """Film scenes one after another, or several at a time; a scene is the same either way."""
    processes = min(os.cpu_count() or 1, len(scenes) // VIDEOS_A_PROCESS)
    if processes < 2:
        studio = _Studio(settings)
        try:
            for scene in scenes:
                studio.film(scene, folder)
                yield
        finally:
            studio.close()
        return
    film = functools.partial(_film, folder=folder, settings=settings)
    room_by_room = sorted(scenes, key=lambda scene: (scene.room, scene.camera))  # built once a process
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(film, room_by_room, chunksize=6)


@functools.cache
def _studio_of_process(settings: SynthesizeConfig) -> _Studio:
    return _Studio(settings)


def _film(scene: _Scene, folder: Path, settings: SynthesizeConfig) -> None:
    _studio_of_process(settings).film(scene, folder)


def _is_finished(folder: Path, settings: SynthesizeConfig) -> bool:
    made = folder / "synthesize.yaml"
    if made.exists():
        if config.load(SynthesizeConfig, made) != settings:
            raise UserError(
                f"{folder} holds sample data with other settings; give another folder or remove it."
            )
        return (folder / "manifest.parquet").exists()
    if folder.is_dir() and any(folder.glob("manifest.*")):
        raise UserError(f"{folder} holds a manifest that is not of sample data; give another folder.")
    return False


@dataclass(frozen=True, kw_only=True)
class _Scene:
    """One video to be: who does what where."""

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

    def record(self, folder: Path, *, fixed: bool) -> VideoRecord:
        return VideoRecord(
            video_id=self.video_id,
            path=str(folder / "videos" / f"{self.video_id}.mp4"),
            label=self.action,
            split=self.split,
            subject="+".join(f"person{person:02d}" for person in self.people),
            camera=f"room{self.room:02d}-camera{self.camera}" if fixed else None,
        )


def _scenes(settings: SynthesizeConfig) -> Iterator[_Scene]:
    """Every video, the same list every time. Rooms and cameras say nothing about the action."""
    rng = np.random.default_rng([settings.seed, 1])
    held_out = round(settings.test_share * settings.people)
    tested = set(rng.permutation(settings.people)[:held_out].tolist())
    for person in range(settings.people):
        split = "test" if person in tested else "train"
        others = [p for p in range(settings.people) if (p in tested) == (person in tested) and p != person]
        for action in settings.actions:
            for take in range(settings.takes):
                people = [person]
                if settings.persons_per_video > 1 and others:
                    people.append(int(rng.choice(others)))
                yield _Scene(
                    people=tuple(people),
                    action=action,
                    take=take,
                    room=int(rng.integers(settings.rooms)),
                    camera=int(rng.integers(settings.cameras)),
                    split=split,
                )


def cast(settings: SynthesizeConfig) -> tuple[Avatar, ...]:
    """The people of the sample data: outfits and hair are dealt out evenly, the rest is drawn."""
    rng = np.random.default_rng([settings.seed, 2])
    outfits, hair = rng.permutation(sorted(OUTFITS)), rng.permutation(sorted(HAIRSTYLES))
    secret = f"sample data {settings.seed}".encode()
    return tuple(
        dataclasses.replace(
            draw_avatar(secret, f"person {person}"),
            outfit=str(outfits[person % len(outfits)]),
            hairstyle=str(hair[person % len(hair)]),
        )
        for person in range(settings.people)
    )


def manners(settings: SynthesizeConfig) -> tuple[Manner, ...]:
    """How each of the people of the sample data moves."""
    return tuple(
        draw_manner(np.random.default_rng([settings.seed, 6, person])) for person in range(settings.people)
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Set:
    """A room as one camera sees it, where it was put up."""

    room: rooms.Room
    camera: rooms.RoomCamera
    view: rooms.RoomView
    light: Light
    lamp: np.ndarray


class _Studio:
    """Films scenes, keeping the people dressed and the rooms lit."""

    def __init__(self, settings: SynthesizeConfig) -> None:
        self._settings = settings
        self._body: Body = load_body()
        self._cast = cast(settings)
        self._manners = manners(settings)
        self._renderer = Renderer(RenderConfig())
        self._figure = functools.lru_cache(maxsize=None)(lambda who: dress(self._body, self._cast[who]))
        self._set = functools.lru_cache(maxsize=None)(self._build_set)

    def close(self) -> None:
        """Free the renderer."""
        self._renderer.close()

    def film(self, scene: _Scene, folder: Path) -> None:
        """Write the video and the truth of a scene."""
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
                shade_HW = view.floor_HW * _shadow(
                    camera, stage.lamp, [actor.world_TV3[frame] for actor in actors], width, height
                )
                picture = view.color_HW3 * (1 - 0.5 * shade_HW[..., None])
                picture[drawn.mask_HW] = drawn.color_HW3[drawn.mask_HW]
                picture = _lens(picture) + settings.noise * rng.standard_normal(
                    picture.shape, dtype=np.float32
                )
                writer.write(np.clip(np.rint(picture), 0, 255).astype(np.uint8))
        self._write_truth(scene, folder, actors, masks, stage, cameras_T)

    def _write_truth(
        self,
        scene: _Scene,
        folder: Path,
        actors: list[_Actor],
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
                cv2.imwrite(str(temporary), _clean(stage.view)[..., ::-1])
            return
        settings, path = self._settings, folder / "truth" / f"{scene.video_id}.background.mp4"
        width, height = settings.width, settings.height
        with (
            files.atomic_path(path) as temporary,
            VideoWriter(temporary, width=width, height=height, fps=settings.fps, lossless=True) as writer,
        ):
            for camera in cameras_T:
                writer.write(_clean(self._view(stage, camera)))

    def _view(self, stage: _Set, camera: rooms.RoomCamera) -> rooms.RoomView:
        """The empty room as a camera of the set sees it now."""
        if camera is stage.camera:
            return stage.view
        return rooms.view(stage.room, camera, width=self._settings.width, height=self._settings.height)

    def _places(self, scene: _Scene, rng: np.random.Generator) -> Iterator[tuple[int, np.ndarray]]:
        """Where each person stands: (who, [x, z, heading])."""
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
    ) -> _Actor:
        settings = self._settings
        figure = self._figure(person)
        done = perform(
            action, num_frames=settings.frames, fps=settings.fps, manner=self._manners[person], rng=rng
        )
        rotations_TJ3 = done.rotations_TJ3.copy()
        turns_T33 = np.array([camera.rotation_33 for camera in cameras_T])
        shifts_T3 = np.array([camera.translation_3 for camera in cameras_T])
        # People look about at the camera, wherever it stands.
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
        # smplx turns about the pelvis' rest place and then shifts.
        centre_T3 = np.einsum("tij,tj->ti", turns_T33, pelvis + shift_T3) + shifts_T3
        translation_T3 = (centre_T3 - pelvis).astype(np.float32)
        return _Actor(
            figure=figure,
            world_TV3=world_TV3,
            vertices_TV3=_to_camera(turns_T33, shifts_T3, world_TV3),
            rotations_TJ3=rotations_TJ3.astype(np.float32),
            translation_T3=translation_T3,
            joints_TJ3=self._body.joints(rotations_TJ3, translation_T3, betas),
        )

    def _build_set(self, room_index: int, camera_index: int) -> _Set:
        settings = self._settings
        room = rooms.draw_room(np.random.default_rng([settings.seed, 4, room_index]))
        rng = np.random.default_rng([settings.seed, 5, room_index, camera_index])
        # The picture shows some 2.5 m at the person's place: tall people with raised arms just fit.
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
class _Actor:
    """One person's take, in the world and before the camera."""

    figure: Figure
    world_TV3: np.ndarray
    vertices_TV3: np.ndarray
    rotations_TJ3: np.ndarray
    translation_T3: np.ndarray
    joints_TJ3: np.ndarray


def _to_camera(turns_T33: np.ndarray, shifts_T3: np.ndarray, points_TV3: np.ndarray) -> np.ndarray:
    seen_TV3 = points_TV3 @ turns_T33.transpose(0, 2, 1).astype(np.float32)
    return np.ascontiguousarray(seen_TV3 + shifts_T3[:, None].astype(np.float32))


def _clean(view: rooms.RoomView) -> np.ndarray:
    """The room alone through the lens, uint8 [H, W, 3]."""
    return np.clip(np.rint(_lens(view.color_HW3)), 0, 255).astype(np.uint8)


def _shadow(
    camera: rooms.RoomCamera, lamp: np.ndarray, people: list[np.ndarray], width: int, height: int
) -> np.ndarray:
    """How dark the floor is [H, W], 0 to 1: what the lamp does not reach, and the contact at the feet."""
    shade = np.zeros((height, width), dtype=np.float32)
    for vertices_V3 in people:
        some = vertices_V3[::7].astype(np.float64)
        share = some[:, 1] / (lamp[1] - some[:, 1])
        cast_V3 = some + (some - lamp) * share[:, None]
        for points, size, strength in (
            (cast_V3, 0.016, 0.6),
            (some[some[:, 1] < 0.12] * [1, 0, 1], 0.024, 1.0),
        ):
            if len(points):
                blot = _blot(camera.project(points), size * height, width, height)
                shade = np.maximum(shade, strength * blot)
    return shade


def _blot(pixels: np.ndarray, radius: float, width: int, height: int) -> np.ndarray:
    """A soft blot [H, W] that covers the points, 0 to 1."""
    hit = np.zeros((height, width), dtype=np.float32)
    column, row = np.floor(pixels).astype(int).T
    seen = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    hit[row[seen], column[seen]] = 1
    size = 2 * round(radius) + 1
    full = cv2.dilate(hit, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)))
    return cv2.GaussianBlur(full, (0, 0), 0.9 * radius + 0.3)


def _lens(picture: np.ndarray) -> np.ndarray:
    """The slight blur of a real lens, which also joins people and room."""
    return cv2.GaussianBlur(picture, (0, 0), 0.5)
