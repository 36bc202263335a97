"""The file with types and the engine of it, made in one place or in two."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from mopt_optimizer.errors import ModelError
from mopt_optimizer.onnx_quantization import Calibration
from mopt_optimizer.runtimes.tensorrt import TensorRTConfig, TensorRTOptimizer, write_typed_model

pytestmark = pytest.mark.tensorrt
pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")

Save = Callable[..., Path]
SHAPES = {"x": ((1, 3, 16, 16), (2, 3, 32, 32), (4, 3, 48, 48))}
RTX: dict[str, Any] = {
    "backend": "tensorrt_rtx",
    "compute_capabilities": ("8.9",),
    "calibration": Calibration.MIN_MAX,
}


@pytest.fixture
def network(save: Save) -> Path:
    generator = np.random.default_rng(0)
    weights = {name: generator.standard_normal((3, 3, 3, 3)).astype("f4") / 5 for name in "ab"}
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["c"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("Conv", ["r", "b"], ["y"], "second", pads=[1, 1, 1, 1]),
    ]
    return save(nodes, weights)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8", "int8+fp16", "fp8"])
def test_both_ways_give_the_same(network: Path, tmp_path: Path, precision: str) -> None:
    generator = np.random.default_rng(1)
    samples = [{"x": generator.standard_normal((1, 3, 24, 32), dtype=np.float32)}]
    config = TensorRTConfig.of(precision, **RTX)
    optimizer = TensorRTOptimizer(config)
    typed, kept = tmp_path / "typed.onnx", tmp_path / "kept.onnx"
    made = write_typed_model(network, typed, config, samples)
    assert made.path == typed
    at_once = optimizer.optimize_from_onnx(
        network, tmp_path / "a.engine", SHAPES, samples, typed_onnx=kept
    )
    assert typed.read_bytes() == kept.read_bytes()
    apart = optimizer.build_typed(
        typed, tmp_path / "b.engine", SHAPES, source_digest=at_once.manifest.source_digest
    )
    assert apart.layers == at_once.layers
    ignored = {"digest", "size_bytes"}
    assert apart.manifest.model_dump(exclude=ignored) == at_once.manifest.model_dump(
        exclude=ignored
    )


def test_what_is_no_model_is_not_built(tmp_path: Path) -> None:
    typed = tmp_path / "typed.onnx"
    typed.write_bytes(b"not onnx at all")
    with pytest.raises(ModelError, match="not an ONNX model"):
        TensorRTOptimizer(TensorRTConfig.of("fp16", **RTX)).build_typed(
            typed, tmp_path / "a.engine", SHAPES
        )
