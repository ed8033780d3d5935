"""The second pass writes what it says, and lets nothing of a person through on the way."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from raymaskdp.anonymize.background.background import Background, find_background, masked_frames
from raymaskdp.anonymize.background.config import PlateConfig
from raymaskdp.anonymize.background.flow_fill import FlowFill
from raymaskdp.anonymize.compose.config import CompositeConfig
from raymaskdp.anonymize.compose.harmonize import Harmonize, Unrefined
from raymaskdp.anonymize.compose.refiner import Refiner
from raymaskdp.anonymize.compose.scene import Scene
from raymaskdp.anonymize.compose.silhouettes import Silhouettes
from raymaskdp.anonymize.compose.synthesis.drawn import DrawInputs
from raymaskdp.anonymize.compose.synthesis.layers import (
    ComposeInputs,
    WrittenLayers,
    join_layers,
    write_layers,
)
from raymaskdp.anonymize.compose.synthesis.stored import FrameFiles, load_drawn
from raymaskdp.anonymize.output.chunks import Chunks
from raymaskdp.anonymize.people.people import packed_size
from raymaskdp.anonymize.stages.compose import compose_chunks
from raymaskdp.anonymize.stages.draw import draw_chunks
from raymaskdp.anonymize.stages.refine import refine_chunks
from raymaskdp.anonymize.verify.config import VerifyConfig
from raymaskdp.anonymize.verify.ladder import SecondDetector
from raymaskdp.bodies.avatar import draw_avatar
from raymaskdp.bodies.motion import Motion
from raymaskdp.bodies.render import Rendered
from raymaskdp.bodies.skeleton import NUM_JOINTS
from raymaskdp.video import masks
from raymaskdp.video.containers.same_file import SameFile
from raymaskdp.video.containers.same_file import look as look_at
from raymaskdp.video.mask_film import MaskFilm
from raymaskdp.video.reader import probe, stream

HEIGHT, WIDTH, FRAMES = 72, 96, 10
CAMERA = np.array([[90.0, 0, 48], [0, 90.0, 36], [0, 0, 1]])


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A bright block crosses a gray room, with a hum."""
    path = tmp_path_factory.mktemp("source") / "a.mp4"
    with av.open(str(path), "w") as made:
        video = made.add_stream("libx264", rate=10, options={"crf": "5"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = made.add_stream("aac", rate=16_000)
        audio.layout = "mono"
        for index in range(FRAMES):
            frame = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
            frame[20:60, 8 * index : 8 * index + 12] = (255, 0, 255)
            made.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        made.mux(video.encode(None))
        hum = np.sin(np.arange(1024) * 0.1, dtype=np.float32)[None]
        for index in range(15):
            chunk = av.AudioFrame.from_ndarray(hum, format="fltp", layout="mono")
            chunk.sample_rate, chunk.pts = 16_000, 1024 * index
            made.mux(audio.encode(chunk))
        made.mux(audio.encode(None))
    return path


def scene() -> Scene:
    covered = np.zeros((1, FRAMES, HEIGHT, WIDTH), bool)
    for index in range(FRAMES):
        covered[0, index, 16:64, max(0, 8 * index - 3) : 8 * index + 15] = True
    rotations = np.zeros((FRAMES, NUM_JOINTS, 3), np.float32)
    rotations[:, 0, 0] = np.pi
    return Scene(
        height=HEIGHT,
        width=WIDTH,
        masks_PTB=masks.pack(covered),
        visible_PT=np.ones((1, FRAMES), bool),
        doubts_TB=MaskFilm(FRAMES, packed_size(HEIGHT, WIDTH)),
        doubts_T=np.zeros(FRAMES, np.int64),
        things_TB=MaskFilm(FRAMES, packed_size(HEIGHT, WIDTH)),
        text_TB=MaskFilm(FRAMES, packed_size(HEIGHT, WIDTH)),
        motions=(
            Motion(
                rotations_TJ3=rotations,
                translation_T3=np.tile(np.float32([0, 0, 2]), (FRAMES, 1)),
                visible_T=np.ones(FRAMES, bool),
                betas_S=np.zeros(10, np.float32),
                camera_33=CAMERA,
                track_id=0,
            ),
        ),
    )


def draw(index: int) -> Rendered:
    """A green post where the block is."""
    inside = np.zeros((HEIGHT, WIDTH), bool)
    inside[22:58, 8 * index + 2 : 8 * index + 10] = True
    return Rendered(
        color_HW3=inside[..., None] * np.array([20, 160, 40], np.uint8),
        depth_HW=np.where(inside, 2.0, 0).astype(np.float32),
        mask_HW=inside,
    )


def sees_nobody(frame_HW3: np.ndarray, turn: int | None = None) -> np.ndarray:
    return np.zeros((0, 4))


def write(
    source: Path,
    folder: Path,
    config: CompositeConfig,
    length: int = FRAMES,
    draw: Callable[[int], Rendered] = draw,
    *,
    flow: bool = False,
    look: SecondDetector = sees_nobody,
    split: bool = False,
) -> WrittenLayers:
    folder.mkdir(exist_ok=True)
    people, info = scene(), probe(source)
    removed = people.dilated_masks(1.0)
    if flow:
        background = Background(never_observed=1.0, drift_px=9.0, fit_failure="the camera is carried")
    else:
        background = find_background(str(source), info, removed, PlateConfig())
    film = SameFile.digested(source, look_at(source))
    drawing = DrawInputs(
        source=film,
        info=info,
        scene=people,
        background=background,
        draw=draw,
        masks_TB=removed,
        flow=FlowFill(lambda start: masked_frames(str(source), removed, start), "rows") if flow else None,
        look=look,
        plates=PlateConfig(),
        composites=config,
    )
    composing = ComposeInputs(
        source=film,
        info=info,
        scene=people,
        silhouettes=Silhouettes(people, [draw_avatar(bytes(32), "a")], 0.05),
        composites=config,
        verify=VerifyConfig(),
    )

    def refiner() -> Refiner:
        kind = {"none": Unrefined, "harmonize": Harmonize}[config.refine]
        return kind(people.motions, people.camera_33, float(info.fps))

    chunks = Chunks(folder=folder / "chunks", num_frames=FRAMES, length=length)
    paths = {"composite_path": folder / "a.mp4", "avatar_path": folder / "a.avatar.mp4"}
    if not split:
        return write_layers(drawing, refiner, composing, chunks, **paths)
    files = FrameFiles(folder=folder / "frames")
    draw_chunks(drawing, chunks, files)
    refine_chunks(refiner, chunks, files)
    layers = compose_chunks(composing, chunks, files)
    join_layers(composing, chunks, **paths)
    return layers


def test_light_and_shadow_touch_the_composite_alone(source: Path, tmp_path: Path) -> None:
    plain = write(source, tmp_path / "none", CompositeConfig(refine="none"))
    refined = write(source, tmp_path / "harmonize", CompositeConfig())
    for index, (before, after) in enumerate(
        zip(
            stream(tmp_path / "none" / "a.avatar.mp4"),
            stream(tmp_path / "harmonize" / "a.avatar.mp4"),
            strict=True,
        )
    ):
        np.testing.assert_array_equal(before, draw(index).color_HW3)
        np.testing.assert_array_equal(after, before)
    assert plain.digest.hex() == refined.digest.hex()
    np.testing.assert_array_equal(plain.avatar_TB, refined.avatar_TB)
    np.testing.assert_array_equal(plain.removed_TB, refined.removed_TB)
    assert not plain.checks.failures()
    assert not refined.checks.failures()
    shadow = masks.unpack(np.asarray(refined.seams_TB) & ~np.asarray(plain.seams_TB), HEIGHT, WIDTH)
    one, other = (
        np.stack(list(stream(tmp_path / name / "a.mp4"))).astype(int) for name in ("none", "harmonize")
    )
    darker = (one - other).mean(axis=-1)
    outside = ~masks.unpack(plain.avatar_TB, HEIGHT, WIDTH)
    assert (darker[outside] > 12).any()
    # What is darkened beyond what was replaced anyway is named as not the source's.
    named = shadow | masks.unpack(plain.seams_TB, HEIGHT, WIDTH)
    assert not (darker > 12)[outside & ~named].any()


@pytest.mark.parametrize("keep", [False, True])
def test_sound_is_dropped_unless_asked_for(source: Path, tmp_path: Path, keep: bool) -> None:
    write(source, tmp_path / "out", dataclasses.replace(CompositeConfig(), keep_audio=keep))
    with av.open(str(tmp_path / "out" / "a.mp4")) as made:
        assert len(made.streams.audio) == keep
    assert probe(tmp_path / "out" / "a.mp4").num_frames == FRAMES


def test_pieces_are_one_film(source: Path, tmp_path: Path) -> None:
    """However it is cut: the same pictures up to the encoder's rounding, the same avatars and counts."""
    whole, cut = (write(source, tmp_path / str(n), CompositeConfig(), n) for n in (FRAMES, 4))
    assert cut.digest.hex() == whole.digest.hex()
    assert cut.checks.summary() == whole.checks.summary()
    np.testing.assert_array_equal(cut.seams_TB, whole.seams_TB)
    films = [np.stack(list(stream(tmp_path / str(n) / "a.mp4"))).astype(int) for n in (FRAMES, 4)]
    assert films[0].shape == films[1].shape
    assert np.abs(films[0] - films[1]).mean() < 1.0
    layers = [np.stack(list(stream(tmp_path / str(n) / "a.avatar.mp4"))) for n in (FRAMES, 4)]
    np.testing.assert_array_equal(*layers)
    assert probe(tmp_path / "4" / "a.mp4").fps == probe(source).fps


@pytest.mark.parametrize("finished", [0, 1, 2, 3])
def test_what_is_finished_is_not_made_again(source: Path, tmp_path: Path, finished: int) -> None:
    """A video interrupted within a chunk resumes after the last complete chunk, with the same bytes."""

    def breaks_off(index: int) -> Rendered:
        if index == 4 * finished + 1:
            raise RuntimeError("the worker dies")
        return draw(index)

    write(source, tmp_path / "whole", CompositeConfig(), 4)
    broken = tmp_path / "broken"
    if finished < 3:
        with pytest.raises(RuntimeError, match="dies"):
            write(source, broken, CompositeConfig(), 4, breaks_off)
    else:
        write(source, broken, CompositeConfig(), 4)
    left = {note: note.stat().st_mtime_ns for note in (broken / "chunks").glob("*.npz")}
    assert len(left) == finished
    again = write(source, broken, CompositeConfig(), 4)
    assert again.resumed == finished
    assert {note: note.stat().st_mtime_ns for note in left} == left
    for name in ("a.mp4", "a.avatar.mp4"):
        assert (broken / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_frames_filled_along_the_flow_go_on_behind_a_piece(source: Path, tmp_path: Path) -> None:
    """The neighbours of a chunk's first frame are in the chunk before; nothing of the block is left."""

    def breaks_off(index: int) -> Rendered:
        if index == 6:
            raise RuntimeError("the worker dies")
        return draw(index)

    whole = write(source, tmp_path / "whole", CompositeConfig(refine="none"), 4, flow=True)
    with pytest.raises(RuntimeError, match="dies"):
        write(source, tmp_path / "broken", CompositeConfig(refine="none"), 4, breaks_off, flow=True)
    again = write(source, tmp_path / "broken", CompositeConfig(refine="none"), 4, flow=True)
    assert again.resumed == 1
    for name in ("a.mp4", "a.avatar.mp4"):
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not whole.checks.surviving_T.any()
    avatar_THW = masks.unpack(whole.avatar_TB, HEIGHT, WIDTH)
    for frame_HW3, avatar_HW in zip(stream(tmp_path / "whole" / "a.mp4"), avatar_THW, strict=True):
        bare_HW = ~masks.dilate(avatar_HW, 4)
        assert np.abs(frame_HW3.astype(int) - 120)[bare_HW].max() < 16


def test_a_piece_whose_refiner_state_is_lost_is_made_again(source: Path, tmp_path: Path) -> None:
    write(source, tmp_path, CompositeConfig(), 4)
    before = (tmp_path / "a.mp4").read_bytes()
    sorted((tmp_path / "chunks").glob("*.npz"))[-1].unlink()  # the states before it are gone by then
    assert write(source, tmp_path, CompositeConfig(), 4).resumed == 0
    assert (tmp_path / "a.mp4").read_bytes() == before


@pytest.mark.parametrize("refine", ["none", "harmonize"])
def test_frames_that_pass_through_files_give_the_same_bytes(
    source: Path, tmp_path: Path, refine: str
) -> None:
    whole = write(source, tmp_path / "whole", CompositeConfig(refine=refine), 4)
    split = write(source, tmp_path / "split", CompositeConfig(refine=refine), 4, split=True)
    assert split.checks.summary() == whole.checks.summary()
    assert split.digest.hex() == whole.digest.hex()
    for name in ("removed_TB", "seams_TB", "avatar_TB"):
        np.testing.assert_array_equal(getattr(split, name), getattr(whole, name))
    for name in ("a.mp4", "a.avatar.mp4"):
        assert (tmp_path / "split" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("part", ["draw", "refine", "compose"])
def test_a_part_resumes_after_its_last_file(source: Path, tmp_path: Path, part: str) -> None:
    """What a part had finished is not made again, and the bytes are those of an uninterrupted run."""
    write(source, tmp_path / "whole", CompositeConfig(), 4, split=True)
    broken = tmp_path / "broken"
    write(source, broken, CompositeConfig(), 4, split=True)
    lost = {"draw": ["*.drawn", "*.refined"], "refine": ["*.refined"], "compose": []}[part]
    for pattern in lost:
        for path in sorted((broken / "frames").glob(pattern))[1:]:
            path.unlink()
    for note in sorted((broken / "chunks").glob("0*.npz"))[1:]:
        note.unlink()
    (broken / "chunks" / "00000.npz").unlink()
    stays = {path: path.stat().st_mtime_ns for path in (broken / "frames").iterdir()}
    assert write(source, broken, CompositeConfig(), 4, split=True).resumed == 0
    assert {path: path.stat().st_mtime_ns for path in stays} == stays
    for name in ("a.mp4", "a.avatar.mp4"):
        assert (broken / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_split_run_resumes_after_the_chunks_of_a_fused_one(source: Path, tmp_path: Path) -> None:
    def breaks_off(index: int) -> Rendered:
        if index == 5:
            raise RuntimeError("the worker dies")
        return draw(index)

    write(source, tmp_path / "whole", CompositeConfig(), 4)
    with pytest.raises(RuntimeError, match="dies"):
        write(source, tmp_path / "broken", CompositeConfig(), 4, breaks_off)
    again = write(source, tmp_path / "broken", CompositeConfig(), 4, split=True)
    assert again.resumed == 1
    assert not (tmp_path / "broken" / "frames" / "00000.drawn").exists()
    for name in ("a.mp4", "a.avatar.mp4"):
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_files_of_frames_have_nothing_of_the_source_under_a_mask(source: Path, tmp_path: Path) -> None:
    """The block is magenta and the room is gray. Every removed pixel is gray, and none survives."""
    write(source, tmp_path, CompositeConfig(), 4, split=True)
    read = 0
    for path in sorted((tmp_path / "frames").glob("*.drawn")):
        for frame in load_drawn(path, depths=True):
            assert frame.counts["surviving"] == 0
            apart = np.abs(frame.emptied_HW3.astype(int) - 120).max(-1)
            assert apart[frame.removed_HW].max() < 16
            read += 1
    assert read == FRAMES
