"""Prepare, measure and ModelQuantizer on a machine without most runtimes; prints what became of
each as JSON: `python bare_machine.py IMAGES WORKDIR`."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import torch

from mopt_api.jobs.plan import MeasurePlan, PreparePlan, measure_plan, prepare_plan
from mopt_api.spec import ModelOptimizationSpec
from mopt_optimizer import ModelQuantizer, QuantizationConfig
from mopt_optimizer.stages.measure.stage import measure
from mopt_optimizer.stages.prepare.stage import prepare

VARIANTS = [
    {"name": "bf16", "runtime": "PyTorch", "precision": "BF16"},
    {"name": "fp32", "runtime": "ONNXRuntime", "precision": "FP32"},
    {"name": "int8", "runtime": "ONNXRuntime", "precision": "INT8"},
    {"name": "openvino", "runtime": "OpenVINO", "precision": "FP32"},
    {"name": "openvino-int8", "runtime": "OpenVINO", "precision": "INT8"},
    {
        "name": "nncf",
        "runtime": "OpenVINO",
        "precision": "INT8",
        "quantization": {"method": "NNCF"},
    },
    {"name": "tensorrt", "runtime": "TensorRT", "precision": "FP16"},
]


class Network(torch.nn.Module):
    """Two convolutions around a picture: (batch, 3, height, width) -> the same."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = torch.nn.Conv2d(3, 16, 3, padding=1)
        self.second = torch.nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Add a little detail to the picture."""
        detail: torch.Tensor = self.second(torch.relu(self.first(image)))
        return image + 0.1 * detail


def write_program(path: Path) -> None:
    """Write the network with free batch, height and width."""
    free = torch.export.Dim.DYNAMIC
    program = torch.export.export(
        Network().eval(),
        (torch.rand(2, 3, 24, 40),),
        dynamic_shapes={"image": {0: free, 2: free, 3: free}},
    )
    torch.export.save(program, path)


def spec(model: Path) -> ModelOptimizationSpec:
    """Return the resource."""
    side = {"min": 64, "opt": 128, "max": 128}
    data = {"uri": "s3://local/images/", "samples": 2}
    return ModelOptimizationSpec.model_validate(
        {
            "model": {
                "uri": "s3://local/model.pt2",
                "sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
                "format": "ExportedProgram",
            },
            "inputs": [{"name": "image", "shape": ["batch", 3, "height", "width"]}],
            "dimensions": {"batch": {"min": 1, "opt": 1, "max": 2}, "height": side, "width": side},
            "data": {"calibration": data, "evaluation": data},
            "variants": VARIANTS,
            "quality": [{"metric": "PSNR", "minimum": 20, "dataRange": 1.0}],
            "benchmark": {"warmupSeconds": 0, "minDurationSeconds": 0.1, "threads": 1},
        }
    )


def run_stages(images: Path, workdir: Path) -> dict[str, Any]:
    """Return state and message of each variant."""

    def log(step: str, message: str, **_fields: object) -> None:
        print(f"{step}: {message}", file=sys.stderr, flush=True)

    def local(plan: PreparePlan | MeasurePlan) -> dict[str, Any]:
        wire = plan.to_api()
        wire["model"]["uri"] = model.as_uri()
        for name in {"calibration", "evaluation"} & wire.keys():
            wire[name]["uri"] = images.as_uri()
        return wire

    model = workdir / "model.pt2"
    write_program(model)
    told, output = spec(model), f"file://{workdir}/output"
    plan = PreparePlan.model_validate(local(prepare_plan(told, output)))
    _, digest = prepare(plan, dict(os.environ), workdir, log)
    measured = measure_plan(told, target="default", prepared=digest, output_uri=output)
    result, _ = measure(MeasurePlan.model_validate(local(measured)), dict(os.environ), workdir, log)
    return {v.name: {"state": v.state, "message": v.message} for v in result.variants}


def run_quantizer() -> dict[str, float]:
    """Return the dB against FP32 of each type."""
    samples = [torch.rand(1, 3, 24, 24) for _ in range(2)]
    found = {}
    for kind in ("dynamic", "static", "fp16", "bf16"):
        config = QuantizationConfig.of(quantization_type=kind, execution="eager")
        quantized = ModelQuantizer(config).quantize(Network().eval(), samples)
        found[kind] = float(quantized.report.sqnr_db)
    return found


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    folder = Path(sys.argv[2]).resolve()
    became = run_stages(Path(sys.argv[1]).resolve(), folder)
    json.dump(
        {"torch": torch.__version__, "variants": became, "quantizer": run_quantizer()}, sys.stdout
    )
