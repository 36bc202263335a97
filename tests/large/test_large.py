"""A model above 2 GB (protobuf's limit): exported, optimized, quantized, verified.

`make test-large` runs it; with --record PATH it writes time and peak memory there.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from mopt_optimizer.export import ONNXExporter, model_info
from mopt_optimizer.onnx_files.verify import OnnxSession
from mopt_optimizer.onnx_quantization import quantize_weights

from .conftest import Record
from .make_program import LAYERS, WIDTH
from .make_program import network as make_network

pytestmark = pytest.mark.large


class Steps:
    """Seconds of each step, and the most memory that the process had held by its end."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, float, float]] = []

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
        self.rows.append((name, time.monotonic() - started, peak))

    def table(self) -> str:
        lines = ["| Step | Seconds | Peak memory so far, GB |", "|---|---:|---:|"]
        lines += [f"| {name} | {seconds:.0f} | {peak:.1f} |" for name, seconds, peak in self.rows]
        return "\n".join(lines)


def _sqnr_db(found: np.ndarray, expected: np.ndarray) -> float:
    noise = np.square(found.astype(np.float64) - expected).sum()
    return float(10 * np.log10(np.square(expected.astype(np.float64)).sum() / noise))


def test_model_above_two_gigabytes(tmp_path: Path, record: Record) -> None:
    steps = Steps()
    path, quantized = tmp_path / "model.onnx", tmp_path / "int8.onnx"
    with steps.step("make the network"):
        network = make_network()
    with steps.step("export, verify, graph passes (each verified)"):
        metadata = ONNXExporter().export(
            network, torch.rand(1, WIDTH), path, {"input": {0: "batch"}}
        )
    assert metadata["verified"]
    assert metadata["external_data"] == "model.onnx.data"
    assert metadata["size_bytes"] > 2.5e9
    assert {v["dimensions"]["batch"] for v in metadata["verifications"]} == {1, 2}
    assert path.stat().st_size < 1e6
    row = np.random.default_rng(0).random((3, WIDTH), dtype=np.float32)
    with steps.step("compare with PyTorch at a third batch size"):
        with torch.no_grad():
            eager = network(torch.from_numpy(row)).numpy()
        del network
        expected = OnnxSession(path).run({"input": row})[0]
        assert np.abs(expected - eager).max() <= 1e-4 * np.abs(eager).max()
    with steps.step("quantize the weights to INT8, one at a time"):
        report = quantize_weights(path, quantized)
    assert report.weights == LAYERS
    assert model_info(quantized).size_bytes < 0.26 * metadata["size_bytes"]
    with steps.step("run the quantized model"):
        found = OnnxSession(quantized).run({"input": row})[0]
    quality = _sqnr_db(found, expected)
    assert quality > 30
    before, after = metadata["size_bytes"], model_info(quantized).size_bytes
    record.write(
        "The library",
        "Peak memory is the process's largest resident set, PyTorch's own copy of the weights "
        f"included; it only ever grows.\n\n{steps.table()}\n\n"
        f"Model: {before / 1e9:.2f} GB; weights in INT8: {after / 1e9:.2f} GB, "
        f"{quality:.1f} dB SQNR against FP32.",
    )
