"""What options of the runtimes that no form has would bring, on the models of the comparison.

    .venv/bin/python bench/optimizer/runtime_options.py [--seconds 3] [--steps 200] [--json FILE]

OpenVINO with denormal numbers taken as zero; eager PyTorch with weights in channels-last order.
Each takes turns with the runtime as it is, in FP32, at the size of a sample, on all CPUs:
the ratio is of the middle of each turn, with its 99 % interval.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import openvino as ov
import torch
from load import tell
from samples import Sample, read_samples
from standing import times_as_fast
from subjects import SUBJECTS, make_subject

from mopt_api.enums import Precision
from mopt_optimizer.machine.system import System
from mopt_optimizer.runtimes.openvino.settings import DEVICE, properties
from mopt_optimizer.timing.interleave import Calls, Rounds, Schedule, take_rounds

Call = Callable[[], Any]

AS_IT_IS = "as it is"
DENORMALS = {"CPU_DENORMALS_OPTIMIZATION": "YES"}
ROUNDS = 48
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
    turned = load()
    kernels = [p for p in turned.parameters() if p.dim() == _IMAGE]
    if not kernels:
        return {}
    for kernel in kernels:
        kernel.data = kernel.data.contiguous(memory_format=torch.channels_last)

    def call(module: Any) -> Call:
        def run() -> None:
            with torch.no_grad():
                module(*inputs)

        return run

    return {AS_IT_IS: call(load()), "channels last": call(turned)}


def ratios(rounds: Rounds) -> dict[str, dict[str, float]]:
    """Return how many times as fast as it is each option makes a runtime."""
    middle = {name: [statistics.median(turn) for turn in turns] for name, turns in rounds.items()}
    whole = middle.pop(AS_IT_IS)
    known = {option: times_as_fast(mine, whole) for option, mine in middle.items()}
    return {
        option: {name: round(value, 4) for name, value in asdict(interval).items()}
        for option, interval in known.items()
        if interval is not None
    }


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
    hardware = System().hardware(os.environ)
    threads = hardware.threads or 1
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
    tell(record, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
