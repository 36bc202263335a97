"""Arrays of any memory layout: OpenVINO reads the caller's memory, or a copy that lives on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from mopt_api.enums import Precision, Runtime
from mopt_optimizer.runtimes import Opening, open_runner

pytestmark = pytest.mark.optimizer

Array = NDArray[Any]


def _read_only(array: Array) -> Array:
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "laid_out",
    [lambda a: a.T, lambda a: a[::-1], lambda a: a[:, ::2].repeat(2, axis=1).T, _read_only],
    ids=["transposed", "reversed", "strided", "read-only"],
)
def test_layout_of_an_input_changes_nothing(
    tmp_path: Path, laid_out: Callable[[Array], Array]
) -> None:
    text = '<ir_version: 8, opset_import: ["" : 17]>\n'
    text += "g (float[64,64] x) => (float[64,64] y) { y = Relu(x) }"
    path = tmp_path / "model.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    opening = Opening(runtime=Runtime.OPENVINO, precision=Precision.FP32, path=path, threads=1)
    with open_runner(opening) as runner:
        for seed in range(4):
            fed = laid_out(np.random.default_rng(seed).random((64, 64), np.float32))
            np.testing.assert_array_equal(runner.run({"x": fed})["y"], fed)
        runner.bind({"x": fed})()
