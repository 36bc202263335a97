"""What prepare takes, step by step, on a 10 MB detector: the gated search beside calibrating once.

    .venv/bin/python bench/optimizer/prepare_times.py [--json FILE]

A convolutional detector (boxes in pixels and scores, 2.4 million weights) and eight pictures to
calibrate with. It is prepared with a gate, so that the search decides which layers stay FP32, and
without one: that is what calibrating and quantizing once take.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
import torch
from numpy.typing import NDArray
from PIL import Image
from repeat import summary_of_stage
from rich.console import Console
from rich.table import Table
from torch import nn

from mopt_api.jobs.plan import Credentials
from mopt_api.jobs.prepare_result import PrepareResult
from mopt_api.jobs.termination import PrepareSummary
from mopt_cli.local_plan import Overrides, local_work
from mopt_cli.resources import load
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store

SIDE = 320
SAMPLES = 8
GATE = {"metric": "SQNR", "minimum": 40, "aggregate": "Worst"}
_WIDTHS = (24, 48, 96, 192, 320)


class _Block(nn.Module):
    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.deep = nn.Conv2d(width, width, 3, 1, 1, groups=width)
        self.mix = nn.Conv2d(width, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.silu(self.norm(self.down(x)))
        return nn.functional.silu(x + self.mix(nn.functional.silu(self.deep(x))))


class Detector(nn.Module):
    """Boxes 0..320 and scores 0..1 of each cell at strides 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, *_WIDTHS)
        pairs = itertools.pairwise(widths)
        self.stages = nn.ModuleList(_Block(a, b, stride=2) for a, b in pairs)
        self.same = nn.ModuleList(_Block(b, b, stride=1) for b in _WIDTHS)
        self.heads = nn.ModuleList(nn.Conv2d(width, 4 + 20, 1) for width in _WIDTHS[-2:])

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, found = image, []
        for stage, same in zip(self.stages, self.same, strict=True):
            x = same(stage(x))
            found.append(x)
        cells = [head(level).flatten(2) for head, level in zip(self.heads, found[-2:], strict=True)]
        rows = torch.cat(cells, 2).transpose(1, 2)
        return SIDE * torch.sigmoid(rows[..., :4]), torch.sigmoid(rows[..., 4:])


def pictures() -> list[NDArray[np.uint8]]:
    """Return photographs, cut to the detector's input in several places."""
    sources = [getattr(skimage.data, n)() for n in ("astronaut", "coffee", "chelsea", "rocket")]
    found = []
    for number in range(2 * SAMPLES):
        source = sources[number % len(sources)]
        height, width = (source.shape[axis] - SIDE for axis in (0, 1))
        top, left = max(height, 0) * (number // 4) // 4, max(width, 0) * (number // 4) // 4
        cut = source[top : top + SIDE, left : left + SIDE]
        found.append(np.pad(cut, [(0, SIDE - s) for s in cut.shape[:2]] + [(0, 0)], mode="edge"))
    return found


def write(folder: Path) -> None:
    """Write model and data."""
    torch.manual_seed(0)
    model = Detector().train()
    images = [torch.from_numpy(p).permute(2, 0, 1)[None] / 255 for p in pictures()]
    with torch.no_grad():  # Statistics of real pictures for the normalizations.
        for _ in range(3):
            model(torch.cat(images))
    program = torch.export.export(model.eval(), (images[0],))
    torch.export.save(program, folder / "model.pt2")
    for name, part in (("calibration", slice(0, SAMPLES)), ("evaluation", slice(SAMPLES, None))):
        (folder / name).mkdir()
        for number, picture in enumerate(pictures()[part]):
            Image.fromarray(picture).save(folder / name / f"{number}.png")


def resource(*, gated: bool) -> dict[str, Any]:
    """Return the resource: each INT8 form once."""
    int8 = [
        {"name": method.lower(), "runtime": "ONNXRuntime", "precision": "INT8"}
        | {"quantization": {"calibrator": method} | ({} if gated else {"fallback": "Off"})}
        for method in ("MinMax", "Percentile")
    ]
    nncf: dict[str, Any] = {"name": "nncf", "runtime": "OpenVINO", "precision": "INT8"}
    nncf["quantization"] = {"method": "NNCF"}
    return {
        "apiVersion": "mopt.dev/v1alpha1",
        "kind": "ModelOptimization",
        "metadata": {"name": "detector"},
        "spec": {
            "model": {"uri": "s3://m/m.pt2", "sha256": "0" * 64, "format": "ExportedProgram"},
            "inputs": [{"name": "image", "shape": [1, 3, SIDE, SIDE]}],
            "data": {name: {"uri": f"s3://d/{name}/"} for name in ("calibration", "evaluation")},
            "variants": [*int8, nncf],
            "quality": [GATE],
            "benchmark": {"points": [{"name": "one"}]},
        },
    }


def prepared(folder: Path, *, gated: bool) -> PrepareResult:
    """Prepare into an empty store; return what prepare says of itself."""
    output = folder / ("gated" if gated else "once")
    file = folder / f"{output.name}.json"
    file.write_text(json.dumps(resource(gated=gated)))
    overrides = Overrides(
        model=folder / "model.pt2",
        calibration=folder / "calibration",
        evaluation=folder / "evaluation",
        output=str(output),
    )
    work = local_work(load(file), file, overrides)
    told = summary_of_stage(work.prepare(), folder, PrepareSummary)
    blobs = Blobs(*open_store(work.output_uri, Credentials.OUTPUT, os.environ))
    return PrepareResult.model_validate_json(blobs.read(told.result))


def main() -> int:
    """Print the steps and the ratio of the searches to calibrating once."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="also write the seconds there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mopt-prepare-") as name:
        folder = Path(name)
        write(folder)
        once, gated = (prepared(folder, gated=gated) for gated in (False, True))
    seconds = {
        name: {step.name: step.seconds for step in result.steps}
        | {"all": sum(result.seconds.values())}
        for name, result in (("once", once), ("gated", gated))
    }
    table = Table("STEP", "WITHOUT A GATE, S", "WITH A GATE, S", box=None)
    for name in sorted({*seconds["once"], *seconds["gated"]}):
        table.add_row(name, *(f"{seconds[k].get(name, 0.0):.1f}" for k in ("once", "gated")))
    Console().print(table)
    if arguments.json is not None:
        stages = {"once": once.seconds, "gated": gated.seconds}
        arguments.json.write_text(json.dumps({"steps": seconds, "stages": stages}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
