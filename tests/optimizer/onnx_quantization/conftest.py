"""Small graphs with what quantization stumbles over, and samples for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Samples = list[dict[str, NDArray[np.float32]]]
Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Return what writes a graph of one input and one output and returns its path."""

    def write(
        nodes: Sequence[onnx.NodeProto],
        weights: dict[str, NDArray[Any]],
        *,
        shape: Sequence[int | str] = ("batch", 3, "h", "w"),
        opset: int = 18,
        output_type: int = TensorProto.FLOAT,
        input_type: int = TensorProto.FLOAT,
        rank: int = 4,
    ) -> Path:
        graph = helper.make_graph(
            list(nodes),
            "graph",
            [helper.make_tensor_value_info("image", input_type, list(shape))],
            [helper.make_tensor_value_info("result", output_type, [None] * rank)],
            [numpy_helper.from_array(values, name) for name, values in weights.items()],
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8
        )
        path = tmp_path / "model.onnx"
        onnx.save(model, path)
        return path

    return write


@pytest.fixture
def network(save: Save) -> Path:
    """Four convolutions; the third works on values of which a few are 1000 times larger.

    Where INT8 is computed exactly nothing is left of the others, and the result is constant.
    """
    return four_convolutions(save, 1000)


@pytest.fixture
def even_network(save: Save) -> Path:
    """The same, with values that are all alike: INT8 computes it, coarsely."""
    return four_convolutions(save, 1)


def four_convolutions(save: Save, swell: float) -> Path:
    """Write four convolutions; before the third a channel swells, and shrinks after it."""
    generator = np.random.default_rng(0)

    def weight(outputs: int, inputs: int) -> NDArray[np.float32]:
        scale = 1 / np.sqrt(inputs * 9)
        values = generator.standard_normal((outputs, inputs, 3, 3)) * scale
        result: NDArray[np.float32] = values.astype(np.float32)
        return result

    weights = {
        "w1": weight(8, 3),
        "w2": weight(8, 8),
        "w3": weight(8, 8),
        "w4": weight(3, 8),
        # One channel swells and shrinks again: 8 bits for all of them is then too coarse.
        "swell": np.array([swell, 1, 1, 1, 1, 1, 1, 1], np.float32).reshape(1, 8, 1, 1),
        "shrink": np.array([1 / swell, 1, 1, 1, 1, 1, 1, 1], np.float32).reshape(1, 8, 1, 1),
    }
    weights["w3"][:, 0] /= swell

    def conv(name: str, *tensors: str) -> onnx.NodeProto:
        return helper.make_node("Conv", tensors[:2], tensors[2:], name, pads=[1, 1, 1, 1])

    return save(
        [
            conv("first", "image", "w1", "a"),
            helper.make_node("Relu", ["a"], ["a1"], "relu"),
            conv("second", "a1", "w2", "b"),
            helper.make_node("Mul", ["b", "swell"], ["b1"], "swell"),
            conv("third", "b1", "w3", "c"),
            conv("fourth", "c", "w4", "result"),
        ],
        weights,
    )


@pytest.fixture
def samples() -> Samples:
    """Images of different sizes: nothing may need them to be equal."""
    generator = np.random.default_rng(1)
    return [{"image": generator.random((1, 3, 16 + 8 * n, 24), dtype=np.float32)} for n in range(4)]
