"""The best configuration under load beside one instance with all threads, and the search's cost.

    .venv/bin/python bench/optimizer/load.py [--seconds 10] [--budget 600] [--short]
        [--record docs/records/load.json]

On super_resolution (the example's SRVGG) and a transformer encoder, each in ONNX Runtime, OpenVINO
and PyTorch: the highest rate of the best configuration found over that of one instance with all
threads, at the same p99; its bound is sixteen times what a request takes by itself. Then Offline on
the encoder in ONNX Runtime: the search beside a grid that tries all, its winner and its time. For
figures that mean something the machine must be quiet. --short proves that it works, on one form.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from mopt_api.enums import Precision, Runtime
from mopt_api.inputs import DimensionRange, InputSpec
from mopt_api.jobs.load_result import LoadStop, LoadTrial
from mopt_api.load import LoadScenario
from mopt_optimizer.load.batches import batch_sizes, joined_axes
from mopt_optimizer.load.configurations import Space
from mopt_optimizer.load.rules import Bound
from mopt_optimizer.load.search import Found, Limits, Proposal, Steps, search, worded
from mopt_optimizer.machine.system import System
from mopt_optimizer.onnx_files.opsets import OPSET
from mopt_optimizer.runtimes.base import Opening
from mopt_optimizer.stages.measure.load_process import Requests
from mopt_optimizer.stages.measure.load_trials import Form, LoadTrials, Place
from mopt_optimizer.stages.measure.setup import save_arrays
from mopt_optimizer.timing.interleave import benchmark_feeds

BATCH = DimensionRange(min=1, opt=1, max=8)
PATIENCE = 16.0
"""Times what a request takes by itself: a host's own stalls are some ten milliseconds, and in half
a CPU everything stands still for 50 of a period that is busy."""
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "super_resolution"


@dataclass(frozen=True)
class Subject:
    """A model: how it is made, and its inputs.

    Attributes:
        sizes: Of dimensions, beside the batch.
    """

    name: str
    module: nn.Module
    inputs: tuple[InputSpec, ...]
    sizes: dict[str, int]

    def write(self, folder: Path) -> dict[Runtime, Path]:
        """Write the model in the forms that runtimes open."""
        sizes = {"batch": 3, **self.sizes}
        example = tuple(
            torch.rand([d if isinstance(d, int) else sizes[d] for d in spec.shape])
            for spec in self.inputs
        )
        axes = tuple(
            {i: torch.export.Dim.DYNAMIC for i, d in enumerate(spec.shape) if d == "batch"}
            for spec in self.inputs
        )
        program = torch.export.export(self.module, example, dynamic_shapes=axes)
        torch.export.save(program, folder / f"{self.name}.pt2")
        names = [spec.name for spec in self.inputs]
        exported = torch.onnx.export(
            program, dynamo=True, opset_version=OPSET, input_names=names, verbose=False
        )
        if exported is None:
            raise RuntimeError(f"torch exported nothing of {self.name}")
        exported.save(folder / f"{self.name}.onnx")
        onnx = folder / f"{self.name}.onnx"
        return {
            Runtime.ONNX_RUNTIME: onnx,
            Runtime.OPENVINO: onnx,
            Runtime.PYTORCH: folder / f"{self.name}.pt2",
        }


class Encoder(nn.Module):
    """A transformer encoder of BERT-mini's size, on embedded tokens."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(256, 4, 1024, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the encoded tokens."""
        encoded: torch.Tensor = self.layers(x)
        return encoded


def encoder(tokens: int) -> Subject:
    """Return the encoder on so many tokens; its weights are random."""
    torch.manual_seed(0)
    spec = InputSpec(name="x", shape=["batch", tokens, 256])
    return Subject("encoder", Encoder().eval(), (spec,), {})


def subjects() -> list[Subject]:
    """Return the models; the weights of the first are the example's."""
    sys.path.insert(0, str(EXAMPLE))
    import build
    import srvgg

    weights = build.weights_directory()
    network = srvgg.load(weights / f"{build.WEIGHTS}.param", weights / f"{build.WEIGHTS}.bin")
    image = InputSpec(name="image", shape=["batch", 3, 64, 64])
    return [
        encoder(32),
        Subject("super_resolution", network.eval(), (image,), {}),
    ]


def grid(space: Space) -> Steps:
    """Try everything in long trials; what a search is compared with."""
    best: LoadTrial | None = None
    for serving in space.everything():
        trial = yield Proposal(serving, full=True)
        if trial is not None and (best is None or trial.throughput > best.throughput):
            best = trial
    return Found(best, LoadStop.CONVERGED)


def one_instance(limits: Limits) -> Steps:
    """Search the rate alone, of one instance with all threads: what there is without a search."""
    whole = Space(limits.cpus, (1,)).coarse()[0]
    steps = search(replace(limits, batches=(1,)))
    answer: LoadTrial | None = None
    started = False
    while True:
        try:
            proposal = steps.send(answer) if started else next(steps)
        except StopIteration as end:
            found: Found = end.value
            return found
        started = True
        answer = (yield proposal) if proposal.serving == whole else None


class Runs:
    """Searches of one subject."""

    def __init__(self, subject: Subject, folder: Path, seconds: float, budget: float) -> None:
        self._subject = subject
        self._folder = folder
        self._seconds, self._budget = seconds, budget
        self.forms = subject.write(folder)
        feeds = benchmark_feeds(list(subject.inputs), {"batch": 1, **subject.sizes}, ())
        samples = folder / "samples"
        self._requests = Requests(
            [save_arrays(feeds, samples / "0")],
            samples,
            joined_axes(subject.inputs),
            batch_sizes(subject.inputs, {"batch": BATCH}, BATCH.max),
        )

    def limits(self, bound: Bound | None) -> Limits:
        """Return the limits of a search on all CPUs that may be used here."""
        return Limits(
            cpus=max(1, int(System().usable_cpus())),
            batches=self._requests.sizes,
            scenario=LoadScenario.SERVER if bound else LoadScenario.OFFLINE,
            duration_seconds=self._seconds,
            budget_seconds=self._budget,
            bound=bound,
        )

    def run(
        self, runtime: Runtime, limits: Limits, steps: Steps | None = None
    ) -> tuple[Found, list[LoadTrial], float]:
        """Return what was found, all trials and the seconds that it took."""
        path = self.forms[runtime]
        opening = Opening(runtime=runtime, precision=Precision.FP32, path=path, threads=1)
        place = Place(self._folder, os.environ, lambda: None, System().cpu_stat, _log)
        started = time.monotonic()
        with LoadTrials(
            Form(f"{self._subject.name}/{runtime}", opening), self._requests, limits, place
        ) as trials:
            found = trials.run(steps)
            return found, trials.trials, round(time.monotonic() - started, 1)

    def bound(self, runtime: Runtime) -> Bound:
        """Return a bound on p99: a few times what one request takes by itself, on all CPUs that may
        be used here."""
        offline = self.limits(None)
        _, trials, _ = self.run(runtime, replace(offline, budget_seconds=0.1))
        return Bound(99, PATIENCE * 1e3 / max(t.throughput for t in trials))


def _log(step: str, message: str, **_fields: object) -> None:
    print(f"{step}: {message}", file=sys.stderr, flush=True)


def _told(trial: LoadTrial | None) -> dict[str, object] | None:
    if trial is None:
        return None
    return {**trial.to_api(), "words": worded(trial.serving)}


def at_the_same_p99(runs: Runs, runtime: Runtime) -> dict[str, object]:
    """Return the best configuration's rate over one instance's, at a p99 that both keep."""
    bound = runs.bound(runtime)
    limits = runs.limits(bound)
    whole, _, _ = runs.run(runtime, limits, one_instance(limits))
    best, tried, seconds = runs.run(runtime, limits)
    ratio = best.best.throughput / whole.best.throughput if best.best and whole.best else None
    return {
        "runtime": runtime.value,
        "bound": str(bound),
        "oneInstance": _told(whole.best) or whole.message,
        "best": _told(best.best) or best.message,
        "ratio": ratio and round(ratio, 3),
        "trials": len(tried),
        "seconds": seconds,
    }


def beside_a_grid(runs: Runs, runtime: Runtime) -> dict[str, object]:
    """Return the winners and times of the search and of a grid that tries all, Offline."""
    limits = runs.limits(None)
    found, tried, seconds = runs.run(runtime, limits)
    space = Space(limits.cpus, limits.batches)
    whole, all_tried, grid_seconds = runs.run(runtime, limits, grid(space))
    same = bool(found.best and whole.best and found.best.serving == whole.best.serving)
    return {
        "runtime": runtime.value,
        "search": _told(found.best),
        "grid": _told(whole.best),
        "sameWinner": same,
        "searchTrials": len(tried),
        "gridTrials": len(all_tried),
        "searchSeconds": seconds,
        "gridSeconds": grid_seconds,
        "share": round(seconds / grid_seconds, 3),
    }


def tell(record: Mapping[str, object], path: Path | None) -> None:
    """Print a record, and write it where a path is given."""
    text = json.dumps(record, indent=1)
    print(text)
    if path is not None:
        path.write_text(text + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--budget", type=float, default=600.0)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--record", type=Path)
    options = parser.parse_args(arguments)
    runtimes = (Runtime.ONNX_RUNTIME, Runtime.OPENVINO, Runtime.PYTORCH)
    hardware = System().hardware({})
    record: dict[str, object] = {"cpu": hardware.cpu, "threads": hardware.threads}
    started = time.monotonic()
    for subject in subjects()[: 1 if options.short else None]:
        with tempfile.TemporaryDirectory() as folder:
            runs = Runs(subject, Path(folder), options.seconds, options.budget)
            entry: dict[str, object] = {
                "served": [
                    at_the_same_p99(runs, runtime)
                    for runtime in runtimes[: 1 if options.short else None]
                ]
            }
            if subject.name == "encoder":
                entry["grid"] = beside_a_grid(runs, Runtime.ONNX_RUNTIME)
            record[subject.name] = entry
    record["seconds"] = round(time.monotonic() - started)
    tell(record, options.record)
    return 0


if __name__ == "__main__":
    sys.exit(main())
