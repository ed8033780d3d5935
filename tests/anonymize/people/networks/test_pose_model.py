"""The pulled models: pinned, aligned, openable, and a sentence when they cannot be had."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from raymaskdp.anonymize.people.networks import pose_model
from raymaskdp.errors import UserError


@pytest.fixture(scope="module")
def models() -> pose_model.PoseModels:
    return pose_model.pull_pose_models()


def test_bundle_members_are_stored_and_aligned(models: pose_model.PoseModels) -> None:
    content = models.landmarker.read_bytes()
    with zipfile.ZipFile(models.landmarker) as bundle:
        assert bundle.namelist() == ["pose_detector.tflite", "pose_landmarks_detector.tflite"]
        assert bundle.testzip() is None
        for entry in bundle.infolist():
            assert entry.compress_type == zipfile.ZIP_STORED
            start = content.index(b"TFL3", entry.header_offset) - 4  # the identifier is at byte 4
            assert start % 4 == 0
            assert content[start : start + entry.file_size] == bundle.read(entry)


def test_metadata_gives_the_normalisation_once(models: pose_model.PoseModels) -> None:
    with zipfile.ZipFile(models.landmarker) as bundle:
        networks = {name: bundle.read(name) for name in bundle.namelist()}
    assert normalisation(networks["pose_detector.tflite"]) == (127.5, 127.5)
    assert normalisation(networks["pose_landmarks_detector.tflite"]) == (0.0, 255.0)
    changed = pose_model.with_metadata(networks["pose_detector.tflite"], mean=1.0, std=2.0)
    assert normalisation(changed) == (1.0, 2.0)


def normalisation(model: bytes) -> tuple[float, float]:
    """Mean and std as MediaPipe's own schema reads them; fails unless there is one metadata entry."""
    from mediapipe.tasks.metadata import metadata_schema_py_generated as metadata_schema
    from mediapipe.tasks.metadata import schema_py_generated as model_schema

    parsed = model_schema.Model.GetRootAsModel(model, 0)
    entries = [parsed.Metadata(i) for i in range(parsed.MetadataLength())]
    (entry,) = [e for e in entries if e.Name() == b"TFLITE_METADATA"]
    buffer = parsed.Buffers(entry.Buffer()).DataAsNumpy().tobytes()
    root = metadata_schema.ModelMetadataT.InitFromObj(
        metadata_schema.ModelMetadata.GetRootAsModelMetadata(buffer, 0)
    )
    options = root.subgraphMetadata[0].inputTensorMetadata[0].processUnits[0].options
    return float(np.ravel(options.mean)[0]), float(np.ravel(options.std)[0])


def test_a_second_pull_touches_no_network(
    models: pose_model.PoseModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert pose_model.pull_pose_models() == models
    assert pose_model.pull_pose_model() == models.landmarker


def test_no_network_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYMASKDP_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(UserError, match=r"Cannot download mediapipe==0\.10\.21"):
        pose_model.pull_pose_models()
    assert not list(tmp_path.rglob("*.t*"))
