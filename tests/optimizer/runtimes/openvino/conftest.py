"""A small convolutional network of dynamic sizes, and images for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


@pytest.fixture
def model(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    weights = {
        "w1": generator.standard_normal((8, 3, 3, 3)).astype(np.float32),
        "w2": generator.standard_normal((3, 8, 3, 3)).astype(np.float32),
        "b2": generator.standard_normal(3).astype(np.float32),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "w1"], ["a"], "first", pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["a"], ["b"], "relu"),
            helper.make_node("Conv", ["b", "w2", "b2"], ["result"], "second", pads=[1, 1, 1, 1]),
        ],
        "graph",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, "h", "w"])],
        [helper.make_tensor_value_info("result", TensorProto.FLOAT, ["batch", 3, "h", "w"])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    path = tmp_path / "model.onnx"
    imports = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=9), path)
    return path


@pytest.fixture
def samples() -> list[dict[str, NDArray[np.float32]]]:
    generator = np.random.default_rng(1)
    return [{"image": generator.random((1, 3, 16, 24), dtype=np.float32)} for _ in range(3)]
