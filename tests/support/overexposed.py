"""A small classifier and photographs of two exposures: what is calibrated on the darker ones clips
the brighter ones where the classifier averages its features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SIZE, WIDTH, CLASSES = 32, 32, 10
_COARSE = 8


def classifier(path: Path, *, seed: int = 0) -> None:
    """Write three convolutions, an average and a linear layer, for any batch of images.

    Activations are bounded as MobileNet's are, and few weights are large: so kernels that saturate
    (AVX2) and those that do not compute nearly the same.

    Args:
        seed: Of its weights.
    """
    random = np.random.default_rng(seed)
    values: dict[str, NDArray[np.float32]] = {
        "zero": np.asarray(0, np.float32),
        "six": np.asarray(6, np.float32),
    }
    nodes = []

    def convolution(name: str, given: str, channels: int, gain: float, stride: int = 1) -> str:
        fan_in = channels * 9
        weights = random.laplace(size=(WIDTH, channels, 3, 3)) * gain / np.sqrt(2 * fan_in)
        values[f"{name}.w"] = weights.astype(np.float32)
        values[f"{name}.b"] = (random.standard_normal(WIDTH) * 0.3).astype(np.float32)
        operands = [given, f"{name}.w", f"{name}.b"]
        nodes.append(
            helper.make_node(
                "Conv", operands, [name], name=name, pads=[1] * 4, strides=[stride] * 2
            )
        )
        nodes.append(
            helper.make_node("Clip", [name, "zero", "six"], [f"{name}.c"], name=f"{name}.clip")
        )
        return f"{name}.c"

    last = convolution("stem", "image", 3, 6.0)
    last = convolution("second", last, WIDTH, 1.5, stride=2)
    last = convolution("third", last, WIDTH, 1.5)
    values["head.w"] = (random.laplace(size=(WIDTH, CLASSES)) / np.sqrt(WIDTH)).astype(np.float32)
    nodes += [
        helper.make_node("GlobalAveragePool", [last], ["pool"], name="pool"),
        helper.make_node("Flatten", ["pool"], ["flat"], name="flat"),
        helper.make_node("Gemm", ["flat", "head.w"], ["scores"], name="head"),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", CLASSES])
    weights = [numpy_helper.from_array(value, name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "classifier", [image], [scores], weights)
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def pictures(folder: Path, count: int, *, seed: int, exposure: float) -> None:
    """Write blocks of colour with grain, one array each, the first half as bright as the last.

    Args:
        exposure: Of the last: its largest value.
    """
    random = np.random.default_rng(seed)
    folder.mkdir()
    for index, brightness in enumerate(np.linspace(0.5, 1.0, count) * exposure):
        blocks = random.random((1, 3, _COARSE, _COARSE))
        blocks = blocks.repeat(SIZE // _COARSE, 2).repeat(SIZE // _COARSE, 3)
        grain = random.random((1, 3, SIZE, SIZE))
        picture = (0.7 * blocks + 0.3 * grain) * brightness
        np.save(folder / f"{index:02}.npy", picture.astype(np.float32))
