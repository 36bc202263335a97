"""New weights of the same graph: what a run takes after another one, and whether it chooses alike.

    .venv/bin/python bench/optimizer/warm_start.py [RESOURCE.yaml --model FILE --calibration DIR
        --evaluation DIR] [--weeks 5] [--change 0.02] [--json FILE]

A model is run once, into an empty store. Its weights are then changed by so much, as training on
for a week does, and run twice: into the same store, which knows the graph, and into an empty one,
which says what would have been chosen and how long it would have taken. Each week starts from the
first weights. Without a resource it is the detector of prepare_times.py and the super-resolution
example. For figures that mean something the machine must be quiet.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import prepare_times
from repeat import EXAMPLE, example_files, summary_of_stage
from rich.console import Console
from rich.table import Table

from mopt_api.jobs.measure_result import MeasureResult
from mopt_api.jobs.plan import Credentials
from mopt_api.jobs.prepare_result import PrepareResult
from mopt_api.jobs.termination import MeasureSummary, PrepareSummary
from mopt_cli.local_plan import Overrides, local_work
from mopt_cli.resources import load
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store

ALIKE, QUICK = 0.95, 0.25
"""What is aimed at: 19 of 20 runs choose alike, in a quarter of the first run's time."""


@dataclass(frozen=True)
class Subject:
    """A model: its resource, and where it and its data lie."""

    name: str
    resource: Path
    files: Overrides


@dataclass(frozen=True)
class Ran:
    """What a run came to.

    Attributes:
        prepare, measure: Seconds, with the start of the processes.
        steps: Of prepare that were made.
        left_out: Variants that other weights had outrun.
    """

    selected: str | None
    prepare: float
    measure: float
    steps: int
    left_out: tuple[str, ...]
    verdict: str | None

    @property
    def seconds(self) -> float:
        """Of both stages."""
        return self.prepare + self.measure


@dataclass(frozen=True)
class Week:
    """New weights of a subject: run after others, and from nothing."""

    subject: str
    week: int
    first: Ran
    warm: Ran
    cold: Ran

    @property
    def share(self) -> float:
        """Of the first run's time."""
        return self.warm.seconds / self.first.seconds

    @property
    def alike(self) -> bool:
        """Whether both runs of these weights chose the same."""
        return self.warm.selected == self.cold.selected


def retrained(source: Path, target: Path, *, seed: int, change: float) -> None:
    """Write a .pt2 or .onnx with other weights: each of a matrix or kernel is changed by so much of
    itself, by chance."""
    random = np.random.default_rng(seed)

    def changed(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        noise = change * random.standard_normal(values.shape)
        found: np.ndarray[Any, Any] = values * (1 + noise)
        return found.astype(values.dtype)

    if source.suffix == ".onnx":
        import onnx
        from onnx import numpy_helper

        model = onnx.load(source)
        for tensor in model.graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) > 1:
                values = changed(numpy_helper.to_array(tensor))
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        onnx.save(model, target)
        return
    import torch

    program = torch.export.load(source)
    with torch.no_grad():
        for weights in program.state_dict.values():
            if weights.is_floating_point() and weights.ndim > 1:
                weights.copy_(torch.from_numpy(changed(weights.numpy())))
    torch.export.save(program, target)


def ran(subject: Subject, model: Path, output: Path, folder: Path) -> Ran:
    """Run a model's resource into a store."""
    overrides = replace(subject.files, model=model, output=str(output))
    work = local_work(load(subject.resource), subject.resource, overrides)
    times = [time.monotonic()]
    prepared = summary_of_stage(work.prepare(), folder, PrepareSummary)
    times.append(time.monotonic())
    told = summary_of_stage(work.measure(prepared.result), folder, MeasureSummary)
    times.append(time.monotonic())
    blobs = Blobs(*open_store(work.output_uri, Credentials.OUTPUT, os.environ))
    manifest = PrepareResult.model_validate_json(blobs.read(prepared.result))
    result = MeasureResult.model_validate_json(blobs.read(told.result))
    return Ran(
        selected=result.selected,
        prepare=round(times[1] - times[0], 2),
        measure=round(times[2] - times[1], 2),
        steps=sum(step.outcome == "Built" for step in manifest.steps),
        left_out=tuple(sorted({n for one in manifest.outrun.values() for n in one.variants})),
        verdict=result.verdict.stopped if result.verdict else None,
    )


def weeks(subject: Subject, folder: Path, count: int, change: float) -> Iterator[Week]:
    """Yield a subject's weeks.

    Args:
        folder: Empty.
    """
    source = subject.files.model
    if source is None:
        raise ValueError(f"{subject.name} has no model")
    known = folder / "known"
    first = ran(subject, source, known, folder)
    for week in range(1, count + 1):
        model = folder / f"week-{week}{source.suffix}"
        retrained(source, model, seed=week, change=change)
        warm = ran(subject, model, known, folder)
        cold = ran(subject, model, folder / f"nothing-{week}", folder)
        yield Week(subject.name, week, first, warm, cold)


def subjects(folder: Path) -> list[Subject]:
    """Write the models that are there without being asked for; return them."""
    detector = folder / "detector"
    detector.mkdir()
    prepare_times.write(detector)
    document = prepare_times.resource(gated=True)
    del document["spec"]["variants"]
    (detector / "resource.json").write_text(json.dumps(document))
    files = Overrides(
        model=detector / "model.pt2",
        calibration=detector / "calibration",
        evaluation=detector / "evaluation",
    )
    upscaler = folder / "upscaler"
    upscaler.mkdir()
    return [
        Subject("detector", detector / "resource.json", files),
        Subject("super_resolution", EXAMPLE / "resource.yaml", example_files(upscaler)),
    ]


def report(found: Sequence[Week], console: Console) -> None:
    """Print each week, and both shares."""
    table = Table(
        *("MODEL", "WEEK", "FIRST, S", "WARM, S", "SHARE", "FROM NOTHING, S"),
        *("LEFT OUT", "CHOSEN", "FROM NOTHING"),
        box=None,
    )
    for one in found:
        table.add_row(
            *(one.subject, str(one.week), f"{one.first.seconds:.0f}", f"{one.warm.seconds:.0f}"),
            *(f"{one.share:.0%}", f"{one.cold.seconds:.0f}", str(len(one.warm.left_out))),
            *(one.warm.selected or "-", one.cold.selected or "-"),
        )
    console.print(table)
    alike = sum(one.alike for one in found)
    shares = sorted(one.share for one in found)
    console.print(f"alike: {alike} of {len(found)}; median share {shares[len(shares) // 2]:.0%}")


def main() -> int:
    """Exit status 0 where both aims are reached."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("resource", type=Path, nargs="?")
    for name in ("model", "calibration", "evaluation"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--weeks", type=int, default=5)
    parser.add_argument("--change", type=float, default=0.02)
    parser.add_argument("--json", type=Path, help="also write the runs there")
    asked = parser.parse_args()
    found: list[Week] = []
    with tempfile.TemporaryDirectory(prefix="mopt-warm-") as name:
        folder = Path(name)
        if asked.resource is None:
            known = subjects(folder)
        else:
            files = Overrides(asked.model, asked.calibration, asked.evaluation)
            known = [Subject(asked.resource.stem, asked.resource, files)]
        for subject in known:
            room = folder / f"runs-{subject.name}"
            room.mkdir()
            for week in weeks(subject, room, asked.weeks, asked.change):
                print(f"{week.subject} {week.week}: {week.share:.0%}", file=sys.stderr, flush=True)
                found.append(week)
    report(found, Console())
    if asked.json is not None:
        rows = [asdict(one) | {"share": one.share, "alike": one.alike} for one in found]
        asked.json.write_text(json.dumps(rows, indent=1) + "\n")
    quick = sorted(one.share for one in found)[len(found) // 2] <= QUICK
    return 0 if quick and sum(one.alike for one in found) >= ALIKE * len(found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
