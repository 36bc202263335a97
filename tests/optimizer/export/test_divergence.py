"""Where a wrong graph first differs is named: against another file, and against eager."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from torch import nn

from mopt_optimizer.errors import BaselineError, DimensionError, ExportError
from mopt_optimizer.export import (
    ONNXExportConfig,
    ONNXExporter,
    first_divergence,
    model_info,
    onnx_values,
    writing,
)
from mopt_optimizer.passes import PASSES
from mopt_optimizer.runtimes.onnx_runtime.benchmark import benchmark_onnx

pytestmark = pytest.mark.optimizer

AXES = {"image": {0: "batch", 2: "height", 3: "width"}}
PLAIN = ONNXExporter(ONNXExportConfig(optimize=False))


@pytest.fixture
def exported(upscaler: nn.Module, tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    PLAIN.export(upscaler, torch.rand(2, 3, 8, 8), path, AXES)
    return path


def _with_other_weight(path: Path, op_type: str, target: Path) -> str:
    """Write a model in which the last node of a type has other weights; return its output."""
    model = onnx.load(path)
    node = [n for n in model.graph.node if n.op_type == op_type][-1]
    (weight,) = [t for t in model.graph.initializer if t.name == node.input[1]]
    values = onnx.numpy_helper.to_array(weight) + np.float32(1)
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    onnx.save(model, target)
    return str(node.output[0])


def test_first_divergent_node_is_named(exported: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.onnx"
    value = _with_other_weight(exported, "Conv", wrong)
    inputs = {"image": np.random.default_rng(0).random((1, 3, 5, 6), dtype=np.float32)}
    found = first_divergence(wrong, inputs, onnx_values(exported, inputs))
    assert found is not None
    assert (found.op_type, found.value) == ("Conv", value)
    assert found.max_abs_error > found.tolerance
    assert first_divergence(exported, inputs, onnx_values(exported, inputs)) is None


def test_wrong_export_names_the_node(
    upscaler: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if torch's exporter were wrong about one operator."""
    write = writing.write_traced

    def wrong(*arguments: object) -> None:
        write(*arguments)  # type: ignore[arg-type]
        path = arguments[1]
        assert isinstance(path, Path)
        _with_other_weight(path, "Conv", path)

    monkeypatch.setattr("mopt_optimizer.export.exporter.write_traced", wrong)
    with pytest.raises(
        ExportError, match=r"something else: output output differs .*; first at node \w+ \(Conv\)"
    ):
        PLAIN.export(upscaler, torch.rand(1, 3, 8, 8), tmp_path / "model.onnx", AXES)
    assert not list(tmp_path.iterdir())


class _Breaks:
    name = "break_bias"

    def run(self, model: ir.Model) -> bool:
        node = next(n for n in model.graph if n.op_type == "PRelu")
        node.op_type = "Add"
        return True


def test_wrong_pass_is_rolled_back_in_an_export(
    upscaler: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mopt_optimizer.passes.PASSES", (_Breaks(), *PASSES))
    config = ONNXExportConfig(passes=("break_bias", "fuse_bn_into_conv"))
    metadata = ONNXExporter(config).export(
        upscaler, torch.rand(1, 3, 8, 8), tmp_path / "model.onnx", AXES
    )
    assert metadata["verified"]
    outcomes = {report["name"]: report["outcome"] for report in metadata["passes"]}
    assert outcomes == {"break_bias": "RolledBack", "fuse_bn_into_conv": "Kept"}
    assert "differs by" in metadata["passes"][0]["message"]


def test_info_counts_what_is_there(exported: Path) -> None:
    info = model_info(exported, {"batch": 2, "height": 10, "width": 20})
    assert info.inputs == {"image": ["batch", 3, "height", "width"]}
    assert info.operators["Conv"] == 2
    assert info.nodes == sum(info.operators.values())
    # Two 3x3 convolutions, 3 to 8 and 8 to 12 channels.
    assert info.macs == 2 * 10 * 20 * 9 * (3 * 8 + 8 * 12)
    assert info.flops == 2 * info.macs
    assert info.external_data == []
    assert info.size_bytes == exported.stat().st_size


def test_info_without_sizes_says_what_it_cannot_count(exported: Path) -> None:
    info = model_info(exported)
    assert (info.flops, len(info.uncounted)) == (None, 2)
    with pytest.raises(DimensionError, match="no dimension depth; it has batch, height, width"):
        model_info(exported, {"depth": 3})


def test_benchmark_counts_calls(exported: Path) -> None:
    image = np.random.default_rng(0).random((2, 3, 8, 8), dtype=np.float32)
    result = benchmark_onnx(exported, {"image": image}, num_iterations=12, threads=1)
    assert result.runs >= 12
    assert 0 < result.latency_ms.p50 <= result.latency_ms.p99
    with pytest.raises(BaselineError, match="fed were"):
        benchmark_onnx(exported, {"picture": image})
