"""Outputs keep the file's names and order where several are one value, or an input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
import torch
from runners import opened

from mopt_api.enums import Precision, Runtime
from mopt_optimizer.export.exporter import ONNXExporter

pytestmark = pytest.mark.optimizer


@pytest.mark.parametrize("runtime", [Runtime.ONNX_RUNTIME, Runtime.OPENVINO])
@pytest.mark.parametrize(
    "body",
    [
        "{ last = Relu(x) all = Identity(last) raw = Identity(x) }",
        "{ a = Relu(x) all = Identity(a) last = Identity(a) raw = Identity(x) }",
    ],
)
def test_outputs_are_the_files(tmp_path: Path, runtime: Runtime, body: str) -> None:
    outputs = "float[n,3] last, float[n,3] all, float[n,3] raw"
    text = f'<ir_version: 9, opset_import: ["" : 18]>\ng (float[n,3] x) => ({outputs}) {body}'
    onnx.save(onnx.parser.parse_model(text), tmp_path / "model.onnx")
    x = np.array([[-1, 0, 2]], np.float32)
    with opened(runtime, Precision.FP32, tmp_path / "model.onnx", 1) as runner:
        found = runner.run({"x": x})
    assert list(found) == ["last", "all", "raw"]
    for name, expected in (("last", np.maximum(x, 0)), ("all", np.maximum(x, 0)), ("raw", x)):
        np.testing.assert_array_equal(found[name], expected)


class _Encoder(torch.nn.Module):
    """Returns its last state twice, as encoders return all states too, and its input."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        last = torch.relu(x)
        return last, last, x


def test_export_has_every_output(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    x = torch.tensor([[-1.0, 0.0, 2.0]])
    metadata = ONNXExporter().export(_Encoder(), x, path)
    assert list(metadata["outputs"]) == ["output_0", "output_1", "output_2"]
    with opened(Runtime.OPENVINO, Precision.FP32, path, 1) as runner:
        found = runner.run({next(iter(metadata["inputs"])): x.numpy()})
    assert list(found) == ["output_0", "output_1", "output_2"]
    np.testing.assert_array_equal(found["output_2"], x.numpy())
