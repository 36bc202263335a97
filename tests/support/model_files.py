"""One small real network in every form that is measured."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SCALE = 2
CALIBRATION_SEED = 7


@dataclass(frozen=True)
class ModelFiles:
    """One network in every form that is measured.

    Input `image` is (batch, 3, height, width), all but the channels dynamic; the output is twice
    as high and wide.
    """

    program: Path
    script: Path
    onnx: Path
    int8: Path


def _calibrated(onnx_path: Path, int8_path: Path) -> None:
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Noise(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            random = np.random.default_rng(CALIBRATION_SEED)
            self._left = [random.random((1, 3, 16, 16), np.float32) for _ in range(4)]

        def get_next(self) -> dict[str, np.ndarray] | None:
            return {"image": self._left.pop()} if self._left else None

    quantize_static(
        str(onnx_path),
        str(int8_path),
        Noise(),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
    )


def write_model_files(folder: Path) -> ModelFiles:
    """Conv, PReLU, Conv, PixelShuffle with seeded weights, exported by torch."""
    import torch
    from torch import nn

    files = ModelFiles(
        program=folder / "model.pt2",
        script=folder / "model.ts",
        onnx=folder / "model.onnx",
        int8=folder / "int8.onnx",
    )
    torch.manual_seed(0)

    class Upscaler(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(3, 16, 3, padding=1),
                nn.PReLU(16),
                nn.Conv2d(16, 3 * SCALE * SCALE, 3, padding=1),
                nn.PixelShuffle(SCALE),
                nn.Sigmoid(),
            )

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = self.body(image)
            return result

    network = Upscaler().eval()
    dynamic = torch.export.Dim.DYNAMIC
    program = torch.export.export(
        network,
        (torch.rand(2, 3, 16, 20),),
        dynamic_shapes=({0: dynamic, 2: dynamic, 3: dynamic},),
    )
    program.example_inputs = None
    torch.export.save(program, files.program)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, and says so
        script = torch.jit.trace(  # type: ignore[no-untyped-call]
            network, torch.rand(2, 3, 16, 20)
        )
        torch.jit.save(script, files.script)
    exported = torch.onnx.export(
        program, dynamo=True, opset_version=18, input_names=["image"], verbose=False
    )
    assert exported is not None
    exported.save(files.onnx)
    _calibrated(files.onnx, files.int8)
    return files
