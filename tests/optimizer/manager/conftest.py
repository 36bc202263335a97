"""One small network as a .pt2, as ONNX in FP32 and INT8, and a registry that holds them all."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mopt_optimizer.manager import Machine, ModelManager

Manager = Callable[..., ModelManager]


@dataclass(frozen=True)
class NetworkFiles:
    """x (batch, 4) -> relu(x W + b), (batch, 3), in three files, and what it computes."""

    program: Path
    onnx: Path
    int8: Path
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    def expected(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        result: NDArray[np.float32] = np.maximum(x @ self.weight + self.bias, np.float32(0))
        return result


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> NetworkFiles:
    import onnx
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic

    folder = tmp_path_factory.mktemp("network")
    random = np.random.default_rng(0)
    files = NetworkFiles(
        folder / "model.pt2",
        folder / "model.onnx",
        folder / "int8.onnx",
        random.random((4, 3), np.float32) - np.float32(0.5),
        random.random(3, np.float32),
    )
    layer = torch.nn.Linear(4, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(files.weight.T.copy()))
        layer.bias.copy_(torch.from_numpy(files.bias))

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.layer(x))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own
        program = torch.export.export(
            Network().eval(),
            (torch.rand(2, 4),),
            dynamic_shapes={"x": {0: torch.export.Dim.DYNAMIC}},
        )
        program.example_inputs = None
        torch.export.save(program, files.program)
    helper = onnx.helper
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "weight"], ["product"]),
            helper.make_node("Add", ["product", "bias"], ["sum"]),
            helper.make_node("Relu", ["sum"], ["y"]),
        ],
        "network",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["batch", 3])],
        [
            onnx.numpy_helper.from_array(files.weight, "weight"),
            onnx.numpy_helper.from_array(files.bias, "bias"),
        ],
    )
    save_onnx(graph, files.onnx)
    quantize_dynamic(files.onnx, files.int8, weight_type=QuantType.QInt8)
    return files


def save_onnx(graph: Any, path: Path) -> None:
    import onnx

    opsets = [onnx.helper.make_opsetid("", 18)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10), path)


@pytest.fixture(scope="session")
def save_graph() -> Callable[[Any, Path], None]:
    """What writes a graph as an ONNX file."""
    return save_onnx


@pytest.fixture
def manager(tmp_path: Path, machine: Machine) -> Manager:
    """Makes managers of one registry; keywords change the machine."""

    def make(**changes: Any) -> ModelManager:
        return ModelManager(
            tmp_path / "registry",
            cache=tmp_path / "cache",
            environ={},
            machine=replace(machine, **changes),
        )

    return make


@pytest.fixture
def filled(manager: Manager, network: NetworkFiles) -> Manager:
    """As manager; the registry holds the network in all its forms."""
    first = manager()
    first.register("net", network.program)
    onnx: dict[str, Any] = {"files": network.onnx, "precision": "FP32"}
    first.add_form("net", "onnx", runtime="ONNXRuntime", speedup=2.0, **onnx)
    first.add_form("net", "openvino", runtime="OpenVINO", speedup=1.5, **onnx)
    first.add_form("net", "bf16", network.onnx, runtime="OpenVINO", precision="BF16")
    first.add_form("net", "int8", network.int8, runtime="ONNXRuntime", precision="INT8")
    return manager
