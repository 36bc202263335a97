"""Engines of real models, built for GPUs that are not here, and their quality.

    .venv/bin/python bench/optimizer/tensorrt_table.py [--cache build/bench-models] [SUBJECT ...]

prints a Markdown table for each model: of each precision and calibration the PSNR of the evaluation
photographs against FP32, which ONNX Runtime computes with the file that the engine is built from,
how many of the model's layers TensorRT computes in that type, and what all its layers read. Speed
is not measured: that takes the GPU.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from samples import Sample, read_samples
from subjects import SUBJECTS, SubjectMissing, make_subject

from mopt_optimizer.errors import OptimizerError, RuntimeFailure
from mopt_optimizer.onnx_files.layers import WEIGHTED
from mopt_optimizer.onnx_files.verify import OnnxSession
from mopt_optimizer.onnx_quantization import Calibration
from mopt_optimizer.quality import psnr
from mopt_optimizer.runtimes.shapes import ShapeRange
from mopt_optimizer.runtimes.tensorrt import (
    EngineReport,
    TensorRTConfig,
    TensorRTOptimizer,
    nodes_in,
)

TARGETS = ("8.6", "8.9", "12.0")
WITH_FP8 = ("8.9", "12.0")
SHAPES: dict[str, dict[str, ShapeRange]] = {
    "super_resolution": {"image": ((1, 3, 64, 64), (1, 3, 128, 128), (8, 3, 512, 512))},
    "style_transfer": {"image": ((1, 3, 64, 64), (1, 3, 128, 128), (1, 3, 512, 512))},
}
BASE = TensorRTConfig(backend="tensorrt_rtx", compute_capabilities=TARGETS)
INT8 = replace(BASE, int8_mode=True)
FP8 = replace(BASE, fp8_mode=True, compute_capabilities=WITH_FP8)
PERCENTILE, ENTROPY = Calibration.PERCENTILE, Calibration.ENTROPY
ROWS = {
    "FP32": BASE,
    "FP16": replace(BASE, fp16_mode=True),
    "BF16": replace(BASE, bf16_mode=True),
    "INT8, MinMax": replace(INT8, calibration=Calibration.MIN_MAX),
    "INT8, Percentile": replace(INT8, calibration=PERCENTILE),
    "INT8, Entropy": replace(INT8, calibration=ENTROPY),
    "INT8, Best": INT8,
    "INT8 + FP16, Percentile": replace(INT8, calibration=PERCENTILE, fp16_mode=True),
    "FP8, MinMax": replace(FP8, calibration=Calibration.MIN_MAX),
    "FP8, Percentile": replace(FP8, calibration=PERCENTILE),
    "FP8, Entropy": replace(FP8, calibration=ENTROPY),
    "FP8, Best": FP8,
    "FP8 + FP16, MinMax": replace(FP8, calibration=Calibration.MIN_MAX, fp16_mode=True),
}


def row(
    name: str, report: EngineReport, typed: Path, network: Path, samples: Sequence[Sample]
) -> str:
    """Return a line of the table."""
    counts = ", ".join(f"{n} {kind}" for kind, n in report.manifest.layer_datatypes.items())
    layers = {node.name for node in onnx.load(typed).graph.node if node.op_type in WEIGHTED}
    in_type = layers & nodes_in(report.layers, report.manifest.precision.value)
    try:
        first, second = OnnxSession(network), OnnxSession(typed)
        found = [
            psnr(first.run(dict(s))[0], second.run(dict(s))[0], data_range=1.0) for s in samples
        ]
        quality = f"{min(found):.1f} | {np.mean(found):.1f}"
    except RuntimeFailure:
        quality = "no kernel in ONNX Runtime | "
    quantized = report.fp8.quantized if report.fp8 else report.int8
    chosen = f" ({quantized.calibration})" if name.endswith("Best") and quantized else ""
    return (
        f"| {name}{chosen} | {quality} | {len(in_type)} of {len(layers)} | {counts} "
        f"| {report.manifest.size_bytes / 2**20:.2f} |"
    )


def print_table(subject: str, cache: Path, folder: Path) -> None:
    """Build every row's engine of a model and print its line."""
    make_subject(subject, folder, cache, calibration=16, evaluation=8)
    network = folder / "source.onnx"
    calibration = read_samples(folder / "calibration.npz")
    evaluation = read_samples(folder / "evaluation.npz")
    print(f"\n{SUBJECTS[subject].title}\n")
    print("| Engine | Worst dB | Mean dB | In the type | Layers by the type they read | MiB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for label, config in ROWS.items():
        typed = folder / "typed.onnx"
        try:
            report = TensorRTOptimizer(config).optimize_from_onnx(
                network, folder / "model.engine", SHAPES[subject], calibration, typed_onnx=typed
            )
        except OptimizerError as error:
            print(f"| {label} | {error} | | | | |")
            continue
        print(row(label, report, typed, network, evaluation), flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cache", type=Path, default=Path("build/bench-models"))
    parser.add_argument("subjects", nargs="*", choices=list(SHAPES), default=list(SHAPES))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # of torch's exporter
    for subject in arguments.subjects:
        with TemporaryDirectory() as name:
            try:
                print_table(subject, arguments.cache, Path(name) / subject)
            except SubjectMissing as missing:
                print(f"{subject} is left out: {missing}")


if __name__ == "__main__":
    main()
