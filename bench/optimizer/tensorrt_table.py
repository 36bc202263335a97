"""Engines of the super-resolution example, built for GPUs that are not here, and their quality.

    .venv/bin/python bench/optimizer/tensorrt_table.py

prints a Markdown table: for each precision and calibration the PSNR of the evaluation tiles against
FP32, which ONNX Runtime computes with the file that the engine is built from, and what TensorRT
says that its layers compute in. Speed is not measured: that takes the GPU.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from subjects import Sample, make_subject, read_samples

from mopt_optimizer._errors import OptimizerError
from mopt_optimizer.onnx_quantization import Calibration
from mopt_optimizer.quality import psnr
from mopt_optimizer.tensorrt_engines import EngineReport, TensorRTConfig, TensorRTOptimizer
from mopt_optimizer.verifying import OnnxSession, RuntimeFailure

TARGETS = ("8.6", "8.9", "12.0")
SHAPES = {"image": ((1, 3, 64, 64), (1, 3, 128, 128), (8, 3, 512, 512))}
BASE = TensorRTConfig(backend="tensorrt_rtx", compute_capabilities=TARGETS)
INT8 = replace(BASE, int8_mode=True)
ROWS = {
    "FP32": BASE,
    "FP16": replace(BASE, fp16_mode=True),
    "BF16": replace(BASE, bf16_mode=True),
    "INT8, MinMax": replace(INT8, calibration=Calibration.MIN_MAX),
    "INT8, Percentile": replace(INT8, calibration=Calibration.PERCENTILE),
    "INT8, Entropy": replace(INT8, calibration=Calibration.ENTROPY),
    "INT8, Best": INT8,
    "INT8 + FP16, Percentile": replace(INT8, calibration=Calibration.PERCENTILE, fp16_mode=True),
}


def row(
    name: str, report: EngineReport, typed: Path, network: Path, samples: Sequence[Sample]
) -> str:
    """Return a line of the table."""
    counts = ", ".join(f"{n} {kind}" for kind, n in report.manifest.layer_datatypes.items())
    try:
        first, second = OnnxSession(network), OnnxSession(typed)
        found = [
            psnr(first.run(dict(s))[0], second.run(dict(s))[0], data_range=1.0) for s in samples
        ]
        quality = f"{min(found):.1f} | {np.mean(found):.1f}"
    except RuntimeFailure:
        quality = "no kernel in ONNX Runtime | "
    chosen = f" ({report.int8.calibration})" if name.endswith("Best") and report.int8 else ""
    size = report.manifest.size_bytes / 2**20
    return f"| {name}{chosen} | {quality} | {counts} | {size:.2f} | {report.seconds:.1f} |"


def main() -> None:
    """Print the table."""
    warnings.simplefilter("ignore")  # of torch's exporter
    print("| Engine | Worst dB | Mean dB | Layers by the type they read | MiB | Seconds |")
    print("| --- | --- | --- | --- | --- | --- |")
    with TemporaryDirectory() as name:
        folder = Path(name) / "subject"
        # None of the peers' packages is needed for this one.
        make_subject("super_resolution", folder, Path(name), calibration=16, evaluation=8)
        network = folder / "source.onnx"
        calibration = read_samples(folder / "calibration.npz")
        evaluation = read_samples(folder / "evaluation.npz")
        for label, config in ROWS.items():
            typed = folder / "typed.onnx"
            try:
                report = TensorRTOptimizer(config).optimize_from_onnx(
                    network, folder / "model.engine", SHAPES, calibration, typed_onnx=typed
                )
            except OptimizerError as error:
                print(f"| {label} | {error} | | | | |")
                continue
            print(row(label, report, typed, network, evaluation), flush=True)


if __name__ == "__main__":
    main()
