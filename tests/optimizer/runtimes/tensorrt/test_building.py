"""TensorRT for RTX's own parser and builder: what they build, refuse and say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mopt_optimizer.errors import (
    DimensionError,
    EngineBuildError,
    EngineOutOfMemory,
    GpuNotFound,
    ModelError,
    ParserRefusal,
)
from mopt_optimizer.runtimes.tensorrt import TensorRTConfig, find_backend
from mopt_optimizer.runtimes.tensorrt.backends import Backend
from mopt_optimizer.runtimes.tensorrt.building import build_engine
from mopt_optimizer.runtimes.tensorrt.layers import datatype_counts, nodes_in
from mopt_optimizer.runtimes.tensorrt.loading import check_validity
from mopt_optimizer.runtimes.tensorrt.profiles import ShapeProfile, Tensor

pytestmark = pytest.mark.tensorrt
pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")

Save = Callable[..., Path]
SHAPES = ((1, 3, 16, 16), (2, 3, 32, 32), (4, 3, 64, 48))
AHEAD = TensorRTConfig(compute_capabilities=("8.6", "8.9", "12.0"))


@pytest.fixture(scope="module")
def backend() -> Backend:
    return find_backend("tensorrt_rtx")


def conv(name: str, x: str, y: str) -> Any:
    return helper.make_node("Conv", [x, "w"], [y], name, pads=[1, 1, 1, 1])


def weight(kind: type = np.float32) -> dict[str, Any]:
    return {"w": np.random.default_rng(0).standard_normal((3, 3, 3, 3)).astype(kind)}


def test_it_builds_for_the_gpus_that_the_project_names(backend: Backend) -> None:
    assert {"8.6", "8.9", "12.0"} <= set(backend.targets)
    # What tests and docs say of it: data-centre GPUs newer than A100 are not among them.
    assert "9.0" not in backend.targets


def test_an_engine_tells_its_tensors_profiles_and_types(save: Save, backend: Backend) -> None:
    path = save([conv("first", "x", "a"), conv("second", "a", "y")], weight())
    built = build_engine(path, {"x": SHAPES}, AHEAD, backend)
    assert built.inputs == (Tensor("x", "float32", (-1, 3, -1, -1)),)
    assert built.outputs == (Tensor("y", "float32", (-1, 3, -1, -1)),)
    assert built.profiles == {"x": ShapeProfile(*SHAPES)}
    assert set(datatype_counts(built.layers)) == {"FP32"}
    assert {"first", "second"} <= nodes_in(built.layers, "FP32")
    assert len(built.data) > 1000


@pytest.mark.parametrize(
    ("kind", "numbers", "datatype", "dtype"),
    [(TensorProto.FLOAT16, np.float16, "FP16", "float16")],
)
def test_types_are_those_of_the_file(
    save: Save, backend: Backend, kind: int, numbers: type, datatype: str, dtype: str
) -> None:
    path = save([conv("only", "x", "y")], weight(numbers), kind=kind)
    built = build_engine(path, {"x": SHAPES}, AHEAD, backend)
    assert "only" in nodes_in(built.layers, datatype)
    assert built.inputs[0].dtype == dtype


def test_each_listed_gpu_makes_the_engine_different(save: Save, backend: Backend) -> None:
    path = save([conv("only", "x", "y")], weight())
    one = build_engine(path, {"x": SHAPES}, TensorRTConfig(compute_capabilities=("8.9",)), backend)
    other = build_engine(
        path, {"x": SHAPES}, TensorRTConfig(compute_capabilities=("12.0",)), backend
    )
    assert one.data != other.data


def test_unknown_operator_is_named_with_its_node(save: Save, backend: Backend) -> None:
    node = helper.make_node("Frobnicate", ["x"], ["y"], "odd", domain="com.example")
    with pytest.raises(ParserRefusal, match=r"node odd \(Frobnicate\): .*Plugin not found") as info:
        build_engine(save([node], domain="com.example"), {"x": SHAPES}, AHEAD, backend)
    assert (info.value.node, info.value.operator) == ("odd", "Frobnicate")
    assert "standard ONNX operators" in str(info.value)


def test_unsigned_quantization_is_sent_to_s8s8(save: Save, backend: Backend) -> None:
    weights: dict[str, Any] = {"s": np.array(0.1, np.float32), "z": np.array(128, np.uint8)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], "quantize"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], "dequantize"),
    ]
    with pytest.raises(ParserRefusal, match=r"node quantize \(QuantizeLinear\).*Scheme\.S8S8"):
        build_engine(save(nodes, weights), {"x": SHAPES}, AHEAD, backend)


def test_mixed_types_are_sent_to_convert_float(save: Save, backend: Backend) -> None:
    node = helper.make_node("Add", ["x", "half"], ["y"], "mix")
    path = save([node], {"half": np.ones(1, np.float16)})
    with pytest.raises(ParserRefusal, match=r"node mix \(Add\): .*types Float and Half.*convert_f"):
        build_engine(path, {"x": SHAPES}, AHEAD, backend)


def test_a_type_that_tensorrt_lacks_is_told(save: Save, backend: Backend) -> None:
    node = helper.make_node("StringNormalizer", ["x"], ["y"], "words")
    path = save([node], kind=TensorProto.STRING, shape=["n"])
    with pytest.raises(ParserRefusal, match=r"node words \(StringNormalizer\).*cast to float32"):
        build_engine(path, {"x": (4,)}, AHEAD, backend)


@pytest.mark.parametrize("data", [b"not onnx at all", b""])
def test_what_is_no_onnx_is_no_model(tmp_path: Path, backend: Backend, data: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"model\.onnx is not an ONNX model"):
        build_engine(path, {"x": SHAPES}, AHEAD, backend)


def test_shapes_are_checked_before_the_build(save: Save, backend: Backend) -> None:
    path = save([conv("only", "x", "y")], weight())
    with pytest.raises(DimensionError, match="axis 1: the model fixes it to 3, not 4"):
        build_engine(path, {"x": (1, 4, 16, 16)}, AHEAD, backend)
    with pytest.raises(DimensionError, match="input x has free axes"):
        build_engine(path, {}, AHEAD, backend)


def test_a_shape_that_the_graph_does_not_take_fails_with_tensorrts_words(
    save: Save, backend: Backend
) -> None:
    path = save([helper.make_node("Add", ["x", "k"], ["y"], "sum")], {"k": np.ones((5, 5), "f4")})
    with pytest.raises(EngineBuildError, match=r"TensorRT builds no engine: .*Error Code 4"):
        build_engine(path, {"x": (1, 3, 16, 16)}, AHEAD, backend)


def test_too_little_workspace_is_out_of_memory(save: Save, backend: Backend) -> None:
    config = TensorRTConfig(compute_capabilities=("8.9",), workspace_bytes=1024)
    path = save([conv("first", "x", "a"), conv("second", "a", "y")], weight())
    with pytest.raises(EngineOutOfMemory, match=r"workspace limit.*raise workspace_bytes"):
        build_engine(path, {"x": SHAPES}, config, backend)


@pytest.mark.parametrize("level", [0, 5])
@pytest.mark.parametrize("tf32", [True, False])
def test_options_are_taken(save: Save, backend: Backend, level: int, tf32: bool) -> None:
    config = TensorRTConfig(
        compute_capabilities=("8.9",),
        optimization_level=level,
        tf32=tf32,
        workspace_bytes=1 << 30,
    )
    path = save([conv("only", "x", "y")], weight())
    assert build_engine(path, {"x": SHAPES}, config, backend).layers


def test_the_library_itself_says_that_bytes_are_no_engine(backend: Backend) -> None:
    from mopt_optimizer.errors import DamagedEngine
    from mopt_optimizer.runtimes.tensorrt.building import Messages

    runtime = backend.api.Runtime(Messages(backend.api).logger)
    with pytest.raises(DamagedEngine, match=r"MALFORMED_ENGINE"):
        check_validity("model.engine", backend, runtime, b"no engine" * 100)


def test_an_engine_is_not_valid_without_a_gpu(save: Save, backend: Backend) -> None:
    from mopt_optimizer.errors import UnusableEngine
    from mopt_optimizer.machine.nvidia_gpus import visible_gpus
    from mopt_optimizer.runtimes.tensorrt.building import Messages

    if visible_gpus():
        pytest.skip("there is a GPU: tests/gpu loads engines")
    built = build_engine(save([conv("only", "x", "y")], weight()), {"x": SHAPES}, AHEAD, backend)
    runtime = backend.api.Runtime(Messages(backend.api).logger)
    with pytest.raises((UnusableEngine, GpuNotFound)):
        check_validity("model.engine", backend, runtime, built.data)


def test_an_input_that_would_get_another_type_is_refused_by_name(
    tmp_path: Path, backend: Backend
) -> None:
    nodes = [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)]
    graph = helper.make_graph(
        nodes,
        "wide",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
    )
    opsets = [helper.make_opsetid("", 18)]
    path = tmp_path / "wide.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    with pytest.raises(
        EngineBuildError, match="input x is float64, and TensorRT would take float32"
    ):
        build_engine(path, {"x": ((1, 4), (2, 4), (4, 4))}, AHEAD, backend)
