"""What options of the runtimes that no form has would bring, on the models of the comparison.

    .venv/bin/python bench/optimizer/runtime_options.py [--seconds 3] [--steps 200] [--json FILE]

OpenVINO with denormal numbers taken as zero; eager PyTorch with weights in channels-last order.
Each takes turns with the runtime as it is, in FP32, at the size of a sample, on all CPUs:
the ratio is of the middle of each turn, with its 99 % interval.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import openvino as ov
import torch
from samples import Sample, read_samples
from subjects import SUBJECTS, make_subject

from mopt_api.enums import Precision
from mopt_optimizer.machine.system import System
from mopt_optimizer.runtimes.openvino.settings import DEVICE, properties
from mopt_optimizer.timing.interleave import Calls, Rounds, Schedule, take_rounds
from mopt_optimizer.timing.paired import ratio_of

Call = Callable[[], Any]

AS_IT_IS = "as it is"
DENORMALS = {"CPU_DENORMALS_OPTIMIZATION": "YES"}
ROUNDS = 48
ERROR = 0.01
_IMAGE = 4


def openvino_calls(onnx: Path, sample: Sample, threads: int) -> dict[str, Call]:
    """Return OpenVINO's calls by option."""
    core = ov.Core()
    model = core.read_model(str(onnx))
    model.reshape({name: list(array.shape) for name, array in sample.items()})
    common = properties(Precision.FP32, threads)
    found: dict[str, Call] = {}
    for option, more in ((AS_IT_IS, {}), ("denormals as zero", DENORMALS)):
        request = core.compile_model(model, DEVICE, {**common, **more}).create_infer_request()
        for name, array in sample.items():
            request.set_tensor(name, ov.Tensor(array))
        found[option] = request.infer
    return found


def pytorch_calls(load: Callable[[], torch.nn.Module], inputs: Sequence[Any]) -> dict[str, Call]:
    """Return PyTorch's calls by option; none where there are no convolutions."""
    modules = {AS_IT_IS: load(), "channels last": load()}
    kernels = [p for p in modules["channels last"].parameters() if p.dim() == _IMAGE]
    for kernel in kernels:
        kernel.data = kernel.data.contiguous(memory_format=torch.channels_last)

    def call(module: Any) -> Call:
        def run() -> None:
            with torch.no_grad():
                module(*inputs)

        return run

    return {option: call(module) for option, module in modules.items()} if kernels else {}


def ratios(rounds: Rounds) -> dict[str, dict[str, float]]:
    """Return how many times as fast as it is each option makes a runtime."""
    middle = {
        name: [math.log(statistics.median(t)) for t in turns] for name, turns in rounds.items()
    }
    found = {}
    for option in rounds.keys() - {AS_IT_IS}:
        pairs = zip(middle[AS_IT_IS], middle[option], strict=True)
        known = ratio_of([whole - ours for whole, ours in pairs], ERROR)
        figures = {"ratio": known.ratio, "low": known.low, "high": known.high}
        found[option] = {name: round(value, 4) for name, value in figures.items()}
    return found


def timed(calls: Mapping[str, Call], seconds: float) -> dict[str, dict[str, float]]:
    """Return the ratios of calls that took turns."""
    participants = [Calls(name, call) for name, call in calls.items()]
    turns = Schedule(ROUNDS, seconds / ROUNDS, 1)
    return ratios(
        take_rounds(participants, "", turns, warmup_seconds=0.5, drop=_fail, failures=RuntimeError)
    )


def _fail(_one: Calls, error: RuntimeError) -> None:
    raise error


def measured(folder: Path, seconds: float, threads: int) -> Iterator[tuple[str, Any]]:
    """Yield each runtime with its options' ratios, of the subject in a folder."""
    sample = read_samples(folder / "evaluation.npz")[0]
    yield "OpenVINO", timed(openvino_calls(folder / "source.onnx", sample, threads), seconds)
    program = folder / "model.pt2"
    if program.is_file():
        torch.set_num_threads(threads)
        inputs = [torch.from_numpy(array) for array in sample.values()]
        if calls := pytorch_calls(lambda: torch.export.load(program).module(), inputs):
            yield "PyTorch", timed(calls, seconds)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="of each option")
    parser.add_argument("--steps", type=int, default=200, help="of training")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    options = parser.parse_args()
    threads = max(1, int(System().usable_cpus()))
    hardware = System().hardware(os.environ, threads=threads)
    rows: dict[str, Any] = {}
    for name in SUBJECTS:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / name
            # Of what is trained here speed is asked, not skill.
            make_subject(
                name, folder, Path(place), calibration=1, evaluation=1, steps=options.steps
            )
            rows[name] = dict(measured(folder, options.seconds, threads))
        print(name, json.dumps(rows[name]), file=sys.stderr, flush=True)
    record = {
        "measured": datetime.now(UTC).date().isoformat(),
        "cpu": hardware.cpu,
        "threads": threads,
        "seconds": options.seconds,
        "subjects": rows,
    }
    text = json.dumps(record, indent=1)
    print(text)
    if options.json is not None:
        options.json.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
