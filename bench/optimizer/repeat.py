"""The same resource measured again and again here: does the same variant win, and by how much.

    .venv/bin/python bench/optimizer/repeat.py [RESOURCE.yaml] [--model FILE] [--calibration DIR]
        [--evaluation DIR] [--times 10] [--json FILE]

Prepares once, then runs the measure stage as a Job does, each time in a process of its own and on
local files; nothing is served from the store. Without a resource it is the super-resolution
example. For figures that mean something the machine must be quiet; each run says whether it was.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.table import Table

from mopt_api.jobs.measure_result import BASELINE, MeasureResult
from mopt_api.jobs.plan import Credentials, JobPlan
from mopt_api.jobs.termination import MeasureSummary, PrepareSummary, is_unstable
from mopt_api.log_lines import LogLine
from mopt_cli.local_plan import LocalWork, Overrides, local_work
from mopt_cli.resources import load
from mopt_cli.running import run_stage
from mopt_optimizer.stages.step_keys import REQUESTED_AT_VARIABLE
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "super_resolution"


@dataclass(frozen=True)
class Measured:
    """One run.

    Attributes:
        selected: The winner; None where nothing was selected.
        ratios: Speedup over the baseline of each variant that was measured, by name.
        unstable: Whether others had the CPU, in every repetition.
        seconds: Of the trials.
    """

    selected: str | None
    ratios: dict[str, float]
    unstable: bool
    seconds: float


@dataclass(frozen=True)
class Spread:
    """A ratio over the runs; relative is (largest - smallest) / median."""

    runs: int
    smallest: float
    median: float
    largest: float

    @property
    def relative(self) -> float:
        return (self.largest - self.smallest) / self.median

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(len(values), min(values), statistics.median(values), max(values))


def measured(result: MeasureResult) -> Measured:
    """Return what counts of a result.json."""
    return Measured(
        selected=result.selected,
        ratios={v.name: v.speedup for v in result.variants if v.speedup is not None},
        unstable=is_unstable(result),
        seconds=result.seconds.get("trials", 0.0),
    )


def spreads(runs: Sequence[Measured]) -> dict[str, Spread]:
    """Return the spread of each variant's ratio, the fastest first."""
    names = dict.fromkeys(name for run in runs for name in run.ratios)
    found = {
        name: Spread.of([run.ratios[name] for run in runs if name in run.ratios]) for name in names
    }
    return dict(sorted(found.items(), key=lambda item: -item[1].median))


def example_files(folder: Path) -> Overrides:
    """Make the example's model and tiles; return them as options of `mopt run`."""
    sys.path.insert(0, str(EXAMPLE))
    import build

    build.export(folder / "model.pt2")
    build.cut_tiles(build.CALIBRATION, folder / "calibration")
    build.cut_tiles(build.EVALUATION, folder / "evaluation")
    return Overrides(
        model=folder / "model.pt2",
        calibration=folder / "calibration",
        evaluation=folder / "evaluation",
        output=str(folder / "out"),
    )


def _say(stage: str, event: LogLine) -> None:
    if event.step in ("search", "variant", "probe") or event.repetition is not None:
        print(f"  {stage}: {event.message}", file=sys.stderr, flush=True)


AnySummary = TypeVar("AnySummary", PrepareSummary, MeasureSummary)


def summary_of_stage(
    plan: JobPlan,
    workdir: Path,
    kind: type[AnySummary],
    environ: Mapping[str, str] = os.environ,
) -> AnySummary:
    with Path(os.devnull).open("wb") as nowhere:
        told = run_stage(plan, workdir, _say, environ=environ, stderr=nowhere)
    if not isinstance(told, kind):
        raise TypeError(f"{plan.stage} answered with {type(told).__name__}")
    return told


def repeat(work: LocalWork, workdir: Path, times: int) -> list[Measured]:
    """Prepare once and measure so many times.

    Raises:
        CliError: A stage failed.
    """
    blobs = Blobs(*open_store(work.output_uri, Credentials.OUTPUT, os.environ))
    prepared = summary_of_stage(work.prepare(), workdir, PrepareSummary)
    plan = work.measure(prepared.result)
    runs = []
    for number in range(1, times + 1):
        # Part of the key of a measurement: another value finds nothing in the store.
        environ = os.environ | {REQUESTED_AT_VARIABLE: f"repeat-{os.getpid()}-{number}"}
        told = summary_of_stage(plan, workdir, MeasureSummary, environ)
        runs.append(measured(MeasureResult.model_validate_json(blobs.read(told.result))))
        print(f"{number} of {times}: {_words(runs[-1])}", file=sys.stderr, flush=True)
    return runs


def _words(run: Measured) -> str:
    ratio = run.ratios.get(run.selected or "", 1.0)
    quiet = ", unstable" if run.unstable else ""
    return f"{run.selected or 'nothing'} {ratio:.3f}x, {run.seconds:.0f} s{quiet}"


def report(runs: Sequence[Measured], console: Console) -> None:
    """Print the winner of each run and how far the ratios lie apart."""
    lines = Table("RUN", "WINNER", "OVER BASELINE", "UNSTABLE", "SECONDS", box=None)
    for number, run in enumerate(runs, start=1):
        ratio = run.ratios.get(run.selected or "", 1.0)
        cells = (run.selected or "-", f"{ratio:.3f}x", "yes" if run.unstable else "")
        lines.add_row(str(number), *cells, f"{run.seconds:.0f}")
    table = Table("VARIANT", "RUNS", "SMALLEST", "MEDIAN", "LARGEST", "SPREAD", box=None)
    for name, spread in spreads(runs).items():
        ratios = (f"{v:.3f}x" for v in (spread.smallest, spread.median, spread.largest))
        table.add_row(name, str(spread.runs), *ratios, f"{spread.relative:.1%}")
    winners = Counter(run.selected or "nothing" for run in runs).most_common()
    console.print(lines, table, sep="\n")
    console.print("winners: " + ", ".join(f"{name} {n} of {len(runs)}" for name, n in winners))


def main() -> int:
    """Exit status 0 where the same variant won each time."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("resource", type=Path, nargs="?")
    for name in ("model", "calibration", "evaluation"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--json", type=Path, help="also write the runs there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mopt-repeat-") as name:
        folder = Path(name)
        if arguments.resource is None:
            file, overrides = EXAMPLE / "resource.yaml", example_files(folder)
        else:
            file = arguments.resource
            overrides = Overrides(
                model=arguments.model,
                calibration=arguments.calibration,
                evaluation=arguments.evaluation,
                output=str(folder / "out"),
            )
        runs = repeat(local_work(load(file), file, overrides), folder, arguments.times)
    report(runs, Console())
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(run) for run in runs], indent=1) + "\n")
    return 0 if len({run.selected or BASELINE for run in runs}) == 1 else 1


if __name__ == "__main__":
    sys.exit(main())
