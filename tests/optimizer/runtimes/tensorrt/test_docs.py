"""The examples in docs/optimizer/tensorrt.md run, in order, as one program."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from mopt_optimizer.machine.nvidia_gpus import visible_gpus

pytestmark = pytest.mark.tensorrt
pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")

DOCUMENT = Path(__file__).parents[4] / "docs" / "optimizer" / "tensorrt.md"


def test_examples(
    save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if visible_gpus():
        pytest.skip("there is a GPU: the examples show a machine without one")
    generator = np.random.default_rng(0)
    weights = {
        name: generator.standard_normal((3, 3, 3, 3)).astype(np.float32) for name in ("a", "b")
    }
    nodes = [
        helper.make_node("Conv", ["image", "a"], ["c"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("Conv", ["r", "b"], ["y"], "second", pads=[1, 1, 1, 1]),
    ]
    path = save(nodes, weights, name="image")
    monkeypatch.chdir(path.parent)
    samples = [{"image": generator.random((1, 3, 32, 48), dtype=np.float32)} for _ in range(2)]
    blocks = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(), re.S | re.M)
    names: dict[str, Any] = {"calibration": samples}
    exec(compile("\n".join(blocks), str(DOCUMENT), "exec"), names)  # noqa: S102
    assert {found.name for found in path.parent.iterdir()} == {
        "model.onnx",
        "fp16.engine",
        "fp16.engine.json",
        "int8.engine",
        "int8.engine.json",
        "int8.onnx",
        "fp8.engine",
        "fp8.engine.json",
        "fp8.onnx",
    }
    assert "fp16.engine needs an NVIDIA GPU" in capsys.readouterr().out
