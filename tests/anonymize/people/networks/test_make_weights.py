"""Graphs of TensorFlow.js become ONNX networks that compute what the graphs say."""

import base64
import hashlib
import json
import tarfile
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from tensorboard.compat.proto import graph_pb2, types_pb2

from raymaskdp.anonymize.people.networks import onnx_session
from raymaskdp.anonymize.people.networks.onnx_session import DIGESTS, WEIGHTS
from raymaskdp.errors import UserError

onnx = pytest.importorskip("onnx", reason="onnx makes the networks and does not run them")

from raymaskdp.anonymize.people.networks.weights import frozen_graph, make_weights  # noqa: E402
from raymaskdp.anonymize.people.networks.weights.convert import convert, convert_nodes  # noqa: E402
from raymaskdp.anonymize.people.networks.weights.graph import Node  # noqa: E402
from raymaskdp.anonymize.people.networks.weights.resizable import resizable  # noqa: E402

H, W = 9, 12


class Tiny:
    """A graph of TensorFlow.js as it is put together node by node."""

    def __init__(self) -> None:
        self.nodes: list[dict] = []
        self.entries: list[dict] = []
        self.weights = b""

    def node(self, name: str, op: str, *inputs: str, **attributes: object) -> str:
        written = {"name": name, "op": op, "input": list(inputs)}
        self.nodes.append({**written, "attr": {key: self._attribute(v) for key, v in attributes.items()}})
        return name

    def constant(self, name: str, values: object, kind: str = "float16") -> str:
        array = np.asarray(values)
        if kind == "float16":
            entry = {"dtype": "float32", "quantization": {"dtype": "float16", "original_dtype": "float32"}}
        else:
            entry = {"dtype": kind}
        self.entries.append({"name": name, "shape": list(array.shape), **entry})
        self.weights += array.astype(np.dtype(kind)).tobytes()
        return self.node(name, "Const")

    def _attribute(self, value: object) -> dict:
        if isinstance(value, bool):
            return {"b": value}
        if isinstance(value, int):
            return {"i": str(value)}
        if isinstance(value, float):
            return {"f": value}
        if isinstance(value, str):
            kind = "type" if value.startswith("DT_") else "s"
            return {kind: value if kind == "type" else base64.b64encode(value.encode()).decode()}
        if isinstance(value, dict):
            return {"shape": value}
        assert isinstance(value, list)
        if value and isinstance(value[0], str):
            return {"list": {"s": [base64.b64encode(one.encode()).decode() for one in value]}}
        return {"list": {"i": [str(one) for one in value]}}

    def picture(self, channels: int) -> str:
        sizes = [{"size": str(size)} for size in (1, -1, -1, channels)]
        return self.node("picture", "Placeholder", shape={"dim": sizes}, dtype="DT_INT32")

    def model(self, *outputs: str) -> dict:
        return {
            "modelTopology": {"node": self.nodes},
            "weightsManifest": [{"paths": ["x.bin"], "weights": self.entries}],
            "signature": {"outputs": {name: {"name": f"{name}:0"} for name in outputs}},
        }

    def run(self, picture_HWC: np.ndarray, *outputs: str) -> list[np.ndarray]:
        converted = convert(json.loads(json.dumps(self.model(*outputs))), self.weights)
        onnx.checker.check_model(converted, full_check=True)
        session = onnxruntime.InferenceSession(converted.SerializeToString())
        return session.run(list(outputs), {"picture": picture_HWC[None].astype(np.float32)})


def half(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float16).astype(np.float32)


SAME = {"data_format": "NHWC", "padding": "SAME", "dilations": [1, 1, 1, 1]}


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("depthwise", [False, True])
def test_a_fused_convolution_is_pytorchs(depthwise: bool, stride: int) -> None:
    rng = np.random.default_rng(0)
    picture, bias = rng.normal(size=(H, W, 4)), rng.normal(size=8)
    kernel = rng.normal(size=(3, 3, 4, 2 if depthwise else 8))
    tiny = Tiny()
    tiny.picture(4)
    tiny.constant("kernel", kernel)
    tiny.constant("bias", bias)
    tiny.node(
        "answer",
        "FusedDepthwiseConv2dNative" if depthwise else "_FusedConv2D",
        "picture", "kernel", "bias",
        **SAME, strides=[1, stride, stride, 1], fused_ops=["BiasAdd", "Relu6"],
    )  # fmt: skip
    (answer,) = tiny.run(picture, "answer")
    if depthwise:
        weights = torch.tensor(half(kernel)).permute(2, 3, 0, 1).reshape(8, 1, 3, 3)
    else:
        weights = torch.tensor(half(kernel)).permute(3, 2, 0, 1)
    # TensorFlow's "SAME": the smaller half of the margin comes first.
    margins = [max(0, (-(-size // stride) - 1) * stride + 3 - size) for size in (W, H)]
    padding = [side for margin in margins for side in (margin // 2, margin - margin // 2)]
    padded = F.pad(torch.tensor(picture, dtype=torch.float32).permute(2, 0, 1)[None], padding)
    expected = F.conv2d(
        padded, weights, torch.tensor(half(bias)), stride=stride, groups=4 if depthwise else 1
    ).clamp(0, 6)
    np.testing.assert_allclose(answer, expected.permute(0, 2, 3, 1).numpy(), atol=1e-4)


def test_a_graph_of_everything_else_is_numpys(tmp_path: Path) -> None:
    """Arithmetic, padding, pooling, parts, shapes, and a picture twice as large, of a size not known."""
    picture = np.random.default_rng(1).uniform(0, 255, (H, W, 3)).astype(np.float32)
    tiny = Tiny()
    tiny.node("float", "Cast", tiny.picture(3), DstT="DT_FLOAT", SrcT="DT_INT32")
    tiny.node("small", "Mul", "float", tiny.constant("scale", np.float32(1 / 128)))
    tiny.node("centred", "Sub", "small", tiny.constant("one", np.float32(1)))
    # [[0, 0], [1, 1], [1, 1], [0, 0]] as a sparse array: nothing but the four ones is written down.
    at = tiny.constant("at", [[1, 0], [1, 1], [2, 0], [2, 1]], "int32")
    shape, ones = tiny.constant("shape", [4, 2], "int32"), tiny.constant("ones", [1, 1, 1, 1], "int32")
    margins = tiny.node("margins", "SparseToDense", at, shape, ones, tiny.constant("zero", 0, "int32"))
    tiny.node("padded", "PadV2", "centred", margins, tiny.constant("low", np.float32(-9)))
    tiny.node("pooled", "MaxPool", "padded", ksize=[1, 3, 3, 1], strides=[1, 1, 1, 1], padding="VALID")
    tiny.node("leaky", "LeakyRelu", "pooled", alpha=0.1)
    sizes, axis = tiny.constant("sizes", [1, 2], "int32"), tiny.constant("last", 3, "int32")
    tiny.node("parts", "SplitV", "leaky", sizes, axis, num_split=2)
    tiny.node("swapped", "ConcatV2", "parts:1", "parts", axis)
    tiny.node("chances", "Sigmoid", "swapped")
    tiny.node("cut", "Relu6", tiny.node("wide", "Mul", "leaky", tiny.constant("eight", np.float32(8))))
    tiny.node("sum", "AddV2", tiny.node("both", "AddV2", "chances", "small"), "cut")
    tiny.node("turned", "Transpose", "sum", tiny.constant("order", [0, 3, 1, 2], "int32"))
    tiny.node("row", "Reshape", "turned", tiny.constant("row/shape", [1, -1], "int32"))
    ends = [tiny.constant(name, [value], "int32") for name, value in (("b", 1), ("e", 3), ("s", 1))]
    tiny.node("size", "StridedSlice", tiny.node("whole", "Shape", "sum"), *ends)
    tiny.node("twice", "Mul", "size", tiny.constant("two", [2, 2], "int32"))
    tiny.node("large", "ResizeBilinear", "sum", "twice", half_pixel_centers=True, align_corners=False)
    row, large = tiny.run(picture, "row", "large")

    small = picture * half(np.float32(1 / 128))
    padded = np.pad(small - 1, ((1, 1), (1, 1), (0, 0)), constant_values=-9)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (0, 1))
    pooled = windows.max((-2, -1))
    leaky = np.where(pooled < 0, np.float32(0.1) * pooled, pooled)
    total = 1 / (1 + np.exp(-leaky[..., [1, 2, 0]])) + small + np.clip(8 * leaky, 0, 6)
    np.testing.assert_allclose(row[0], total.transpose(2, 0, 1).ravel(), atol=1e-4)
    expected = F.interpolate(
        torch.tensor(total).permute(2, 0, 1)[None], scale_factor=2, mode="bilinear", align_corners=False
    )
    np.testing.assert_allclose(large, expected.permute(0, 2, 3, 1).numpy(), atol=1e-4)


def test_means_products_and_transposed_convolutions_are_pytorchs() -> None:
    rng = np.random.default_rng(2)
    picture, bias, more = rng.normal(size=(H, W, 3)), rng.normal(size=5), rng.normal(size=4)
    kernel, matrix = rng.normal(size=(2, 2, 4, 3)), rng.normal(size=(4, 5))
    tiny = Tiny()
    tiny.picture(3)
    size, weights = tiny.constant("size", [1, 2 * H, 2 * W, 4], "int32"), tiny.constant("kernel", kernel)
    tiny.node(
        "larger", "Conv2DBackpropInput", size, weights, "picture",
        data_format="NHWC", padding="SAME", strides=[1, 2, 2, 1],
    )  # fmt: skip
    tiny.node("sum", "AddN", "larger", tiny.constant("more", more))
    tiny.node("mean", "Mean", "sum", tiny.constant("axes", [1, 2], "int32"), keep_dims=False)
    tiny.node(
        "answer", "_FusedMatMul", "mean", tiny.constant("matrix", matrix), tiny.constant("bias", bias),
        fused_ops=["BiasAdd"],
    )  # fmt: skip
    larger, answer = tiny.run(picture, "sum", "answer")
    maps = torch.tensor(picture, dtype=torch.float32).permute(2, 0, 1)[None]
    expected = F.conv_transpose2d(maps, torch.tensor(half(kernel)).permute(3, 2, 0, 1), stride=2)
    expected = expected.permute(0, 2, 3, 1).numpy() + half(more)
    np.testing.assert_allclose(larger, expected, atol=1e-4)
    np.testing.assert_allclose(answer, expected.mean((1, 2)) @ half(matrix) + half(bias), atol=1e-4)


def test_a_resizable_graph_takes_any_size_and_answers_the_same_at_its_own() -> None:
    helper, rng = onnx.helper, np.random.default_rng(0)
    kernel = onnx.numpy_helper.from_array(rng.normal(size=(2, 3, 3, 3)).astype(np.float32), "kernel")
    size = onnx.numpy_helper.from_array(np.array([1, 2, 8, 16]), "size")
    nodes = [
        helper.make_node("Conv", ["picture", "kernel"], ["mapped"], pads=[1, 1, 1, 1]),
        helper.make_node("Resize", ["mapped", "", "", "size"], ["large"], mode="linear"),
        helper.make_node("Identity", ["large"], ["answer"]),
    ]
    picture = helper.make_tensor_value_info("picture", onnx.TensorProto.FLOAT, [1, 3, 4, 8])
    answer = helper.make_tensor_value_info("answer", onnx.TensorProto.FLOAT, [1, 2, "h", "w"])
    graph = helper.make_graph(nodes, "fixed", [picture], [answer], [kernel, size])
    fixed = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    free = resizable(fixed)
    onnx.checker.check_model(free, full_check=True)

    def run(model: onnx.ModelProto, picture_NCHW: np.ndarray) -> np.ndarray:
        return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"picture": picture_NCHW})[0]

    whole = rng.normal(size=(1, 3, 12, 8)).astype(np.float32)
    np.testing.assert_array_equal(run(free, whole[:, :, :4]), run(fixed, whole[:, :, :4]))
    assert run(free, whole).shape == (1, 2, 24, 16)
    assert {one.name for one in free.graph.initializer} == {"kernel", "large/ratios"}


def test_normalization_of_a_frozen_graph_is_folded_into_its_convolutions() -> None:
    rng = np.random.default_rng(3)
    graph = graph_pb2.GraphDef()

    def add(name: str, op: str, *inputs: str, **attributes: object) -> str:
        node = graph.node.add(name=name, op=op, input=inputs)
        for key, value in attributes.items():
            if isinstance(value, str):
                node.attr[key].s = value.encode()
            elif isinstance(value, list):
                node.attr[key].list.i.extend(value)
        return name

    def constant(name: str, values: np.ndarray) -> str:
        tensor = graph.node.add(name=name, op="Const").attr["value"].tensor
        tensor.dtype = types_pb2.DT_FLOAT
        for size in values.shape:
            tensor.tensor_shape.dim.add(size=size)
        tensor.tensor_content = values.astype(np.float32).tobytes()
        return add(f"{name}/read", "Identity", name)

    how = {"data_format": "NHWC", "padding": "SAME", "strides": [1, 1, 1, 1], "dilations": [1, 1, 1, 1]}
    scales, offsets = rng.uniform(0.5, 2, (2, 4)), rng.normal(size=(2, 4))
    kernels = rng.normal(size=(3, 3, 3, 4)), rng.normal(size=(3, 3, 4, 1))
    add("picture", "Placeholder")
    last = "picture"
    for at, op in enumerate(("Conv2D", "DepthwiseConv2dNative")):
        made = add(f"conv{at}", op, last, constant(f"kernel{at}", kernels[at]), **how)
        root = add(f"root{at}", "Rsqrt", constant(f"scale{at}", scales[at]))
        last = add(f"sum{at}", "Add", add(f"by{at}", "Mul", made, root), constant(f"offset{at}", offsets[at]))
    nodes, constants = frozen_graph.read_frozen_graph(graph.SerializeToString())
    frozen_graph.fold_normalization(nodes, constants)
    size = [{"size": str(size)} for size in (1, H, W, 3)]
    nodes["picture"] = Node(name="picture", op="Placeholder", inputs=(), attributes={"shape": {"dim": size}})
    model = convert_nodes(nodes, constants, [last])
    assert "Mul" not in {node.op_type for node in model.graph.node}

    picture = rng.normal(size=(1, H, W, 3)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (answer,) = session.run(None, {"picture": picture})
    maps = torch.tensor(picture).permute(0, 3, 1, 2)
    for at, (kernel, groups) in enumerate(zip(kernels, (1, 4), strict=True)):
        order = (3, 2, 0, 1) if groups == 1 else (2, 3, 0, 1)
        weights = torch.tensor(kernel, dtype=torch.float32).permute(*order)
        maps = F.conv2d(maps, weights, padding=1, groups=groups)
        maps = maps / torch.tensor(scales[at]).float().sqrt()[:, None, None]
        maps = maps + torch.tensor(offsets[at]).float()[:, None, None]
    np.testing.assert_allclose(answer, maps.permute(0, 2, 3, 1).numpy(), atol=1e-3)


def test_weights_stay_half_and_are_written_once() -> None:
    tiny = Tiny()
    tiny.picture(3)
    tiny.constant("kernel", np.random.default_rng(0).normal(size=(3, 3, 3, 64)))
    tiny.node("answer", "Conv2D", "picture", "kernel", **SAME, strides=[1, 1, 1, 1])
    content = convert(tiny.model("answer"), tiny.weights).SerializeToString()
    assert len(content) < len(tiny.weights) + 1000


def test_what_is_not_known_is_refused(tmp_path: Path) -> None:
    tiny = Tiny()
    tiny.node("answer", "FFT", tiny.picture(3))
    with pytest.raises(UserError, match="FFT of the node answer"):
        convert(tiny.model("answer"), b"")
    tiny = Tiny()
    tiny.node("answer", "Identity", tiny.picture(3))
    with pytest.raises(UserError, match="3 bytes"):
        convert(tiny.model("answer"), b"abc")
    with tarfile.open(tmp_path / "other.tgz", "w:gz") as archive:
        archive.add(__file__, "package/models/nanodet.json")
    with pytest.raises(UserError, match="SHA-256 differs"):
        make_weights.made(tmp_path / "other.tgz")


def test_the_shipped_networks_are_whole_and_have_a_notice() -> None:
    for name, digest in DIGESTS.items():
        assert hashlib.sha256((WEIGHTS / name).read_bytes()).hexdigest() == digest
        assert name in (WEIGHTS / "NOTICE").read_text()
    assert DIGESTS.keys() == {path.name for path in WEIGHTS.glob("*.onnx")}
    assert {*make_weights.SOURCES, make_weights.SSD, make_weights.TEXT} - DIGESTS.keys() == {
        "blazepose_heavy.onnx"
    }


def test_a_damaged_network_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytearray((WEIGHTS / "nanodet.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "nanodet.onnx").write_bytes(content)
    monkeypatch.setattr(onnx_session, "WEIGHTS", tmp_path)
    with pytest.raises(UserError, match=r"nanodet\.onnx is damaged"):
        onnx_session.bundled("nanodet.onnx")
