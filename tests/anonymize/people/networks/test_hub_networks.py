"""Networks of transformers in their roles: as its own code has it, batched or not; and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from support import tiny_networks
from support.elsewhere import ELSEWHERE
from support.tiny_networks import opened
from transformers.image_transforms import center_to_corners_format
from transformers.models.rt_detr.image_processing_pil_rt_detr import RTDetrImageProcessorPil
from transformers.models.vitpose.image_processing_pil_vitpose import VitPoseImageProcessorPil

from raymaskdp.anonymize.people import boxes
from raymaskdp.anonymize.people.body_track import MASK_THRESHOLD
from raymaskdp.anonymize.people.config import PoseConfig
from raymaskdp.anonymize.people.networks.from_settings import configured_networks
from raymaskdp.anonymize.people.networks.hub.detector import ALIASES, COCO, HubDetector
from raymaskdp.anonymize.people.networks.hub.folder import IMAGENET_MEAN, IMAGENET_STD
from raymaskdp.anonymize.people.networks.hub.keypoints import HubKeypoints, crop_of, peaks_of
from raymaskdp.anonymize.people.networks.hub.masks import BEYOND, HubMasks
from raymaskdp.anonymize.people.networks.nanodet import PERSON, BoxDetections
from raymaskdp.errors import UserError

CPU = torch.device("cpu")
DETECTORS = ("RTDetr", "RTDetrV2", "DFine")


def pictures(*sizes: tuple[int, int]) -> list[np.ndarray]:
    """Smooth coloured noise, uint8 [H, W, 3] of each (H, W)."""
    rng = np.random.default_rng(7)
    small = (rng.integers(0, 256, (6, 6, 3), np.uint8) for _ in sizes)
    return [
        cv2.resize(of, (width, height), interpolation=cv2.INTER_CUBIC)
        for of, (height, width) in zip(small, sizes, strict=True)
    ]


FRAMES = pictures((120, 200), (64, 64), (90, 50), (120, 200), (48, 90))
BOXES = [
    np.array([[20, 10, 70, 110], [90, 5, 150, 119]], np.float32),
    np.zeros((0, 4), np.float32),
    np.array([[0, 0, 20, 80]], np.float32),
    np.array([[3, 4, 40, 44], [50, 50, 60, 90], [100, 0, 200, 120]], np.float32),
    np.array([[10, 10, 50, 40]], np.float32),
]


@pytest.fixture(scope="module", params=DETECTORS)
def detector_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_networks.detector(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def keypoint_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_networks.keypoints(tmp_path_factory.mktemp("vitpose"))


@pytest.fixture(scope="module")
def mask_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_networks.sam(tmp_path_factory.mktemp("sam2"))


def test_boxes_are_those_of_transformers(detector_folder: Path) -> None:
    """Its own preparation of a frame that needs no other size; none is left out but doubles."""
    frame = FRAMES[1]
    (seen,) = HubDetector(opened("detector", detector_folder), CPU, batch=1).detect([frame])
    processor = RTDetrImageProcessorPil(size={"height": 64, "width": 64})
    network = transformers.AutoModelForObjectDetection.from_pretrained(detector_folder).eval()
    with torch.no_grad():
        answer = network(**processor(frame, return_tensors="pt"))
    expected_Q4 = 64 * center_to_corners_format(answer.pred_boxes[0]).numpy().clip(0, 1)
    for label, kind in ((0, PERSON), (1, COCO.index("dog"))):
        mine = seen.class_N == kind
        score_Q = answer.logits[0, :, label].sigmoid().numpy()
        assert (score_Q >= 0.05).any()
        first = score_Q.argmax()
        np.testing.assert_allclose(seen.score_N[mine][0], score_Q[first], atol=1e-4)
        np.testing.assert_allclose(seen.boxes_N4[mine][0], expected_Q4[first], atol=1e-2)
        assert np.abs(seen.score_N[mine][:, None] - score_Q).min(1).max() < 1e-4
        overlap = boxes.iou(expected_Q4[score_Q >= 0.051], seen.boxes_N4[mine])
        assert (overlap.max(1) > 0.69).all()
    assert set(seen.class_N.tolist()) <= {PERSON, COCO.index("dog")}  # a hat is worn, and no thing
    assert (np.diff(seen.score_N) <= 0).all()


def test_classes_are_numbered_as_the_shipped_detector_does() -> None:
    assert len(set(COCO)) == 80
    numbers = {"person": PERSON, "dog": 16, "sports ball": 32, "chair": 56, "toilet": 61, "toothbrush": 79}
    assert {name: COCO.index(name) for name in numbers} == numbers
    assert set(ALIASES.values()) <= set(COCO)


def test_boxes_are_in_the_pixels_of_each_picture(detector_folder: Path) -> None:
    """The same picture twice as wide: the same boxes twice as wide."""
    network = HubDetector(opened("detector", detector_folder), CPU, batch=2)
    wide = np.repeat(FRAMES[1], 2, axis=1)
    one, two = network.detect([FRAMES[1], wide])
    np.testing.assert_allclose(two.score_N[:3], one.score_N[:3], atol=0.05)
    np.testing.assert_allclose(two.boxes_N4[0], one.boxes_N4[0] * (2, 1, 2, 1), atol=8)
    assert (two.boxes_N4 >= 0).all()
    assert (two.boxes_N4 <= (128, 64, 128, 64)).all()


def _same_things(some: list[BoxDetections], others: list[BoxDetections], tolerance: float) -> None:
    for one, other in zip(some, others, strict=True):
        assert one.class_N.tolist() == other.class_N.tolist()
        np.testing.assert_allclose(one.boxes_N4, other.boxes_N4, atol=tolerance)
        np.testing.assert_allclose(one.score_N, other.score_N, atol=tolerance)


def test_boxes_in_batches_are_the_same(detector_folder: Path) -> None:
    folder = opened("detector", detector_folder)
    alone = [HubDetector(folder, CPU, batch=1).detect([frame])[0] for frame in FRAMES]
    for batch in (1, 2, 16):
        _same_things(HubDetector(folder, CPU, batch=batch).detect(FRAMES), alone, 1e-3)
    assert HubDetector(folder, CPU, batch=2).detect([]) == []


def test_half_precision_changes_little(
    detector_folder: Path, keypoint_folder: Path, mask_folder: Path
) -> None:
    """What a GPU computes with, here on the CPU."""
    single, half = (
        HubDetector(opened("detector", detector_folder), CPU, batch=4, dtype=dtype).detect(FRAMES)
        for dtype in (torch.float32, torch.float16)
    )
    for one, other in zip(single, half, strict=True):
        assert np.isfinite(other.boxes_N4).all()
        assert one.score_N.max() == pytest.approx(other.score_N.max(), abs=0.05)
    points, others = (
        HubKeypoints(opened("keypoints", keypoint_folder), CPU, batch=4, dtype=dtype).points(FRAMES, BOXES)
        for dtype in (torch.float32, torch.float16)
    )
    apart = [np.abs(one[..., 2] - other[..., 2]) for one, other in zip(points, others, strict=True)]
    assert max(float(away.max(initial=0)) for away in apart) < 0.05
    masks, thin = (
        HubMasks(opened("masks", mask_folder), CPU, batch=4, dtype=dtype).masks(FRAMES, BOXES)
        for dtype in (torch.float32, torch.float16)
    )
    for one, other in zip(masks[3], thin[3], strict=True):
        assert abs(int(one.mask_hw.sum()) - int(other.mask_hw.sum())) < 0.2 * one.mask_hw.size


def test_every_tensor_is_where_the_network_is(
    detector_folder: Path, keypoint_folder: Path, mask_folder: Path
) -> None:
    """On a device that refuses what a GPU would refuse, and the answers are those of the CPU."""
    here, there = (
        HubDetector(opened("detector", detector_folder), device, batch=2).detect(FRAMES)
        for device in (CPU, ELSEWHERE)
    )
    _same_things(here, there, 1e-3)
    points, others = (
        HubKeypoints(opened("keypoints", keypoint_folder), device, batch=2).points(FRAMES, BOXES)
        for device in (CPU, ELSEWHERE)
    )
    for one, other in zip(points, others, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-2)
    masks, away = (
        HubMasks(opened("masks", mask_folder), device, batch=2).masks(FRAMES, BOXES)
        for device in (CPU, ELSEWHERE)
    )
    for mine, theirs in zip(masks[3], away[3], strict=True):
        assert mine.box() == theirs.box()


@pytest.mark.parametrize("loaded", ["float16", "float32"])
def test_weights_of_any_precision_are_computed_with_singly_on_a_cpu(tmp_path: Path, loaded: str) -> None:
    folder = tiny_networks.detector(tmp_path)
    network = transformers.AutoModelForObjectDetection.from_pretrained(folder)
    network.to(getattr(torch, loaded)).save_pretrained(folder)
    seen = HubDetector(opened("detector", folder), CPU, batch=1)._network
    assert {value.dtype for value in seen.parameters()} == {torch.float32}
    assert not seen.training


def test_keypoints_are_those_of_transformers(keypoint_folder: Path) -> None:
    """Its own crops, and of its heat maps the peaks; random ones have near ties."""
    (frame,) = pictures((200, 240))  # of a crop's row on the edge of a frame its code makes black
    boxes_N4 = np.array([[40, 30, 90, 130], [90, 45, 150, 159], [70, 60, 130, 80]], np.float32)
    (seen,) = HubKeypoints(opened("keypoints", keypoint_folder), CPU, batch=2).points([frame], [boxes_N4])
    processor = VitPoseImageProcessorPil(size={"height": 64, "width": 48})
    corners = boxes_N4.copy()
    corners[:, 2:] -= corners[:, :2]
    network = transformers.VitPoseForPoseEstimation.from_pretrained(keypoint_folder).eval()
    with torch.no_grad():
        answer = network(**processor(frame, boxes=[corners.tolist()], return_tensors="pt"))
    (expected,) = processor.post_process_pose_estimation(answer, boxes=[corners.tolist()])
    assert seen.shape == (3, 17, 3)
    for mine, theirs, heat, box_4 in zip(seen, expected, answer.heatmaps.numpy(), boxes_N4, strict=True):
        np.testing.assert_allclose(mine[:, 2], theirs["scores"].numpy().clip(0, 1), atol=0.03)
        x0, y0, width, height = crop_of(box_4, 64, 48)
        columns, rows = (mine[:, 0] - x0) / width * 11, (mine[:, 1] - y0) / height * 15
        around = [cv2.dilate(one, np.ones((3, 3))) for one in heat]
        there = np.array(
            [one[round(row), round(column)] for one, row, column in zip(around, rows, columns, strict=True)]
        )
        assert (there > heat.max((1, 2)) - 0.05).all()
        away = np.linalg.norm(mine[:, :2] - theirs["keypoints"].numpy(), axis=1)
        assert np.median(away) < width / 12  # a cell


def test_peaks_between_cells_are_found() -> None:
    """A Gaussian's peak, anywhere in a crop."""
    y, x = np.mgrid[:16, :12]
    rng = np.random.default_rng(0)
    true = np.column_stack([rng.uniform(1, 10, 17), rng.uniform(1, 14, 17)])
    heat = np.array([0.8 * np.exp(-((x - a) ** 2 + (y - b) ** 2) / 4) for a, b in true], np.float32)
    found = peaks_of(heat, np.array([100.0, 50, 110, 300]))
    np.testing.assert_allclose(found[:, :2], true * (10, 20) + (100, 50), atol=0.1)
    assert (found[:, 2] > 0.6).all()
    flat = peaks_of(np.zeros((17, 16, 12), np.float32), np.array([0.0, 0, 1, 1]))
    assert not flat.any()


@pytest.mark.parametrize("experts", [1, 2])
def test_keypoints_in_batches_are_the_same(tmp_path: Path, experts: int) -> None:
    folder = opened("keypoints", tiny_networks.keypoints(tmp_path, experts=experts))
    alone = HubKeypoints(folder, CPU, batch=1).points(FRAMES, BOXES)
    assert [len(some) for some in alone] == [2, 0, 1, 3, 1]
    for batch in (3, 16):
        for one, other in zip(
            HubKeypoints(folder, CPU, batch=batch).points(FRAMES, BOXES), alone, strict=True
        ):
            np.testing.assert_allclose(one, other, atol=1e-2)
    turned = HubKeypoints(folder, CPU, batch=4).points(FRAMES[3:4], [BOXES[3][::-1]])
    np.testing.assert_allclose(turned[0][::-1], alone[3], atol=1e-2)


def test_masks_are_those_of_transformers(mask_folder: Path) -> None:
    """Probabilities of the network, stretched over the frame, near the box."""
    frame = cv2.resize(FRAMES[0], (128, 128))
    boxes_N4 = np.array([[20, 10, 70, 110], [60, 40, 100, 90]], np.float32)
    (seen,) = HubMasks(opened("masks", mask_folder), CPU, batch=1).masks([frame], [boxes_N4])
    network = transformers.Sam2Model.from_pretrained(mask_folder).eval()
    pixels = (torch.from_numpy(frame).permute(2, 0, 1) / 255 - torch.tensor(IMAGENET_MEAN)[:, None, None]) / (
        torch.tensor(IMAGENET_STD)[:, None, None]
    )
    with torch.no_grad():
        answer = network(
            pixel_values=pixels[None], input_boxes=torch.from_numpy(boxes_N4)[None], multimask_output=False
        )
    likely = torch.nn.functional.interpolate(answer.pred_masks[0].sigmoid(), (128, 128), mode="bilinear")[
        :, 0
    ]
    for patch, likely_HW, box_4 in zip(seen, likely.numpy(), boxes_N4, strict=True):
        side = BEYOND * (box_4[2:] - box_4[:2]).max()
        x0, y0 = np.floor(box_4[:2] - side).clip(0).astype(int)
        x1, y1 = np.ceil(box_4[2:] + side).clip(max=128).astype(int)
        expected = np.zeros((128, 128), bool)
        expected[y0:y1, x0:x1] = likely_HW[y0:y1, x0:x1] > MASK_THRESHOLD
        drawn = np.zeros((128, 128), bool)
        patch.paint(drawn)
        assert 0 < expected.mean() < 0.9 * (y1 - y0) * (x1 - x0) / 128**2
        assert (drawn != expected).mean() < 0.002


def test_masks_in_batches_are_the_same(mask_folder: Path) -> None:
    folder = opened("masks", mask_folder)
    alone = HubMasks(folder, CPU, batch=1).masks(FRAMES, BOXES)
    assert [len(some) for some in alone] == [2, 0, 1, 3, 1]
    for frame, some in zip(FRAMES, alone, strict=True):
        for patch in some:
            x0, y0, x1, y1 = patch.box()
            assert 0 <= x0 <= x1 <= frame.shape[1]
            assert 0 <= y0 <= y1 <= frame.shape[0]
    together = HubMasks(folder, CPU, batch=16).masks(FRAMES, BOXES)
    for one, other, frame in zip(alone, together, FRAMES, strict=True):
        for mine, theirs in zip(one, other, strict=True):
            drawn = [np.zeros(frame.shape[:2], bool) for _ in range(2)]
            mine.paint(drawn[0])
            theirs.paint(drawn[1])
            assert (drawn[0] != drawn[1]).mean() < 0.002


def test_weights_of_the_video_network_serve(tmp_path: Path) -> None:
    video = HubMasks(opened("masks", tiny_networks.sam(tmp_path / "v", video=True)), CPU, batch=2)
    assert [len(some) for some in video.masks(FRAMES, BOXES)] == [2, 0, 1, 3, 1]


def _overflows(folder: Path) -> Path:
    """A network whose answers are infinite or no numbers."""
    weights = load_file(folder / "model.safetensors")
    save_file(
        {name: value * 1e30 for name, value in weights.items()},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    return folder


def test_answers_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    """Otherwise a network without valid outputs would detect no person."""
    broken = [
        _overflows(make(tmp_path / name))
        for name, make in (
            ("detector", tiny_networks.detector),
            ("keypoints", tiny_networks.keypoints),
            ("masks", tiny_networks.sam),
        )
    ]
    detector, points, masks = (opened(folder.name, folder) for folder in broken)
    with pytest.raises(UserError, match=r"pose\.detector: .* returns values that are not finite"):
        HubDetector(detector, CPU, batch=2).detect(FRAMES)
    with pytest.raises(UserError, match=r"pose\.keypoints: .* returns values that are not finite"):
        HubKeypoints(points, CPU, batch=2).points(FRAMES, BOXES)
    with pytest.raises(UserError, match=r"pose\.masks: .* returns values that are not finite"):
        HubMasks(masks, CPU, batch=2).masks(FRAMES, BOXES)


def _without_person(folder: Path) -> Path:
    return tiny_networks.detector(folder, labels={0: "cat", 1: "dog"})


def _without_config(folder: Path) -> Path:
    tiny_networks.detector(folder)
    (folder / "config.json").unlink()
    return folder


def _pickled(folder: Path) -> Path:
    tiny_networks.detector(folder)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    return folder


def _damaged(folder: Path) -> Path:
    tiny_networks.detector(folder)
    (folder / "model.safetensors").write_bytes(b"no weights")
    return folder


def _mangled(folder: Path) -> Path:
    tiny_networks.detector(folder)
    (folder / "config.json").write_text("{")
    return folder


def _foreign(folder: Path) -> Path:
    """The configuration of a detector with the weights of something else."""
    tiny_networks.keypoints(folder)
    weights = (folder / "model.safetensors").read_bytes()
    tiny_networks.detector(folder)
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def _shortest_edge(folder: Path) -> Path:
    tiny_networks.detector(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": {"shortest_edge": 64}}))
    return folder


def _with_code(folder: Path) -> Path:
    """A kind that transformers does not know, which brings code to be run."""
    tiny_networks.detector(folder)
    about = json.loads((folder / "config.json").read_text())
    about |= {"model_type": "mine", "auto_map": {"AutoModelForObjectDetection": "mine.Mine"}}
    (folder / "config.json").write_text(json.dumps(about))
    (folder / "mine.py").write_text("raise SystemExit('this was run')")
    return folder


REFUSED: dict[str, tuple[str, Callable[[Path], Path], str]] = {
    "no such folder": ("detector", lambda folder: folder / "nowhere", "is neither a folder nor a hub id"),
    "no config": ("masks", _without_config, r"holds no config\.json"),
    "damaged config": ("detector", _mangled, "cannot be read as JSON"),
    "pickled weights": ("detector", _pickled, "no weights as safetensors"),
    "damaged weights": ("detector", _damaged, "transformers cannot load"),
    "other weights": ("detector", _foreign, "have no '.*'; they are of another model"),
    "nobody named": ("detector", _without_person, "has no class named 'person'"),
    "another picture": ("detector", _shortest_edge, "images of one height and width"),
    "code of its own": ("detector", _with_code, "of the kind 'mine' and cannot find boxes"),
    "keypoints as boxes": (
        "detector",
        tiny_networks.keypoints,
        "of the kind 'vitpose' and cannot find boxes",
    ),
    "boxes as keypoints": ("keypoints", tiny_networks.detector, "kind 'rt_detr' and cannot find keypoints"),
    "boxes as masks": ("masks", tiny_networks.detector, "kind 'rt_detr' and cannot find masks"),
    "other keypoints": (
        "keypoints",
        lambda folder: tiny_networks.keypoints(folder, num_points=21),
        "names 21 keypoints",
    ),
}


@pytest.mark.parametrize(("setting", "make", "says"), REFUSED.values(), ids=REFUSED)
def test_what_is_unfit_is_said_in_one_sentence(
    tmp_path: Path, setting: str, make: Callable[[Path], Path], says: str
) -> None:
    place = str(make(tmp_path))
    with pytest.raises(UserError, match=says) as caught:
        configured_networks(PoseConfig(**{setting: place}))
    text = str(caught.value)
    assert text.startswith(f"pose.{setting}")
    assert "\n" not in text
    assert text.endswith(".")


def test_what_was_downloaded_once_is_not_asked_for_again(
    tmp_path: Path, detector_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub's own cache, and no network; what a download broke off is no network of ours."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    kept = tmp_path / "models--somebody--detector"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("0" * 40)
    shutil.copytree(detector_folder, kept / "snapshots" / ("0" * 40))
    assert isinstance(configured_networks(PoseConfig(detector="somebody/detector")).detector, HubDetector)
    (kept / "snapshots" / ("0" * 40) / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"pose\.detector"):
        configured_networks(PoseConfig(detector="somebody/detector"))


def test_a_hub_id_that_cannot_be_had_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"cannot get raymaskdp-test/no-such-model.*give a folder"):
        configured_networks(PoseConfig(masks="raymaskdp-test/no-such-model"))


def test_a_missing_library_is_said(monkeypatch: pytest.MonkeyPatch, detector_folder: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pose\.detector needs the library transformers, which is not"):
        configured_networks(PoseConfig(detector=str(detector_folder)))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_share_of_a_gpu_is_asked_for_only_where_a_network_is_named(detector_folder: Path) -> None:
    nobody = configured_networks(PoseConfig(), gpus=0.5)
    assert (nobody.detector, nobody.points, nobody.masks, nobody.batch) == (None, None, None, 1)
    with pytest.raises(UserError, match="finds no GPU"):
        configured_networks(PoseConfig(detector=str(detector_folder)), gpus=0.5)


def test_each_setting_fills_its_role(detector_folder: Path, keypoint_folder: Path, mask_folder: Path) -> None:
    named = PoseConfig(
        detector=str(detector_folder), keypoints=str(keypoint_folder), masks=str(mask_folder), batch=3
    )
    given = configured_networks(named)
    assert isinstance(given.detector, HubDetector)
    assert isinstance(given.points, HubKeypoints)
    assert isinstance(given.masks, HubMasks)
    assert given.batch == given.detector.batch == given.points.batch == given.masks.batch == 3
    assert given.detector.side == tiny_networks.SIDE
