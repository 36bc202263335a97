"""A model above 2 GB (protobuf's limit): exported, optimized, quantized, verified.

`make test-large` runs it; with --record PATH it writes time and peak memory there.
"""

from __future__ import annotations

import resource
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mopt_optimizer.exporter import ONNXExporter, model_info, quantize_weights
from mopt_optimizer.verifying import OnnxSession

pytestmark = pytest.mark.large

WIDTH, LAYERS = 7936, 10
MIN_FREE_DISK = 20 * 10**9
MIN_FREE_MEMORY = 14 * 10**9


def _available_memory() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    fields = dict(line.split(":") for line in lines)
    return int(fields["MemAvailable"].split()[0]) * 1024


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


def _network() -> nn.Module:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(LAYERS):
        layers += [nn.Linear(WIDTH, WIDTH), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()


def _sqnr_db(found: np.ndarray, expected: np.ndarray) -> float:
    noise = np.square(found.astype(np.float64) - expected).sum()
    return float(10 * np.log10(np.square(expected.astype(np.float64)).sum() / noise))


def test_model_above_two_gigabytes(tmp_path: Path, record: Path | None) -> None:
    free = shutil.disk_usage(tmp_path).free
    if free < MIN_FREE_DISK or _available_memory() < MIN_FREE_MEMORY:
        pytest.skip(f"needs {MIN_FREE_DISK} bytes of disk and {MIN_FREE_MEMORY} of memory free")
    steps = Steps()
    path, quantized = tmp_path / "model.onnx", tmp_path / "int8.onnx"
    with steps.step("make the network"):
        network = _network()
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
    if record is not None:
        _write(record, steps, metadata["size_bytes"], model_info(quantized).size_bytes, quality)


def _write(record: Path, steps: Steps, before: int, after: int, quality: float) -> None:
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(
        "# A model above 2 GB\n\n"
        f"{LAYERS} linear layers of {WIDTH} x {WIDTH} with ReLU, float32, written by "
        "`tests/large/test_large.py --record`. Peak memory is the process's largest resident set, "
        "PyTorch's own copy of the weights included; it only ever grows.\n\n"
        f"{steps.table()}\n\n"
        f"Model: {before / 1e9:.2f} GB; weights in INT8: {after / 1e9:.2f} GB, "
        f"{quality:.1f} dB SQNR against FP32.\n"
    )
