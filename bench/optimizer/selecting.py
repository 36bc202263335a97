"""What mopt itself selects for a subject at a gate: `mopt run`, with nothing chosen by hand."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gates import with_gates
from racing import Contender
from subjects import RESOURCE

from mopt_api.enums import TorchMode
from mopt_api.jobs.measure_result import BASELINE, MeasureResult, VariantResult
from mopt_api.jobs.plan import Credentials
from mopt_api.log_lines import LogLine
from mopt_api.spec import QualityGate
from mopt_cli.local_plan import Overrides, local_work
from mopt_cli.local_stages import run_stages
from mopt_cli.resources import load
from mopt_cli.running import run_stage
from mopt_optimizer.runtimes import Opening
from mopt_optimizer.stages.artifacts import fetch_model
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store


@dataclass(frozen=True)
class Selected:
    """The outcome of a run.

    Attributes:
        form: The winner, as result.json has it; the baseline where nothing is better.
        contender: Its file.
        facts: For the record: times, verdict, what was tried and how it ended.
    """

    form: VariantResult
    contender: Contender
    facts: dict[str, Any]


def select(files: Path, bounds: Sequence[QualityGate], folder: Path, threads: int) -> Selected:
    """Run the whole of mopt on a subject.

    Args:
        files: A subject's: model, data and resource.
        bounds: In place of the resource's own gates; none leaves these, ground truth and all.
        folder: To work in; its own.

    Raises:
        CliError: A stage failed.
        LookupError: Nothing was selected, not even the baseline.
    """
    folder.mkdir(parents=True)
    document = json.loads((files / RESOURCE).read_text())
    resource = folder / RESOURCE
    resource.write_text(json.dumps(with_gates(document, bounds) if bounds else document))
    references = files / "references"
    overrides = Overrides(
        model=next(path for path in files.glob("model.*")),
        calibration=files / "calibration",
        evaluation=files / "evaluation",
        references=references if references.is_dir() and not bounds else None,
        output=str(folder / "out"),
    )
    work = local_work(load(resource), resource, overrides)
    began = time.monotonic()
    with Path(os.devnull).open("wb") as nowhere:
        outcome = run_stages(work, lambda plan: run_stage(plan, folder, _say, stderr=nowhere))
    seconds = time.monotonic() - began
    blobs = Blobs(*open_store(work.output_uri, Credentials.OUTPUT, os.environ))
    result = MeasureResult.model_validate_json(blobs.read(outcome.summary.result))
    form = next((v for v in result.everyone if v.name == result.selected), None)
    if form is None:
        raise LookupError(f"mopt selected nothing: {told(result, seconds)['forms']}")
    path = overrides.model
    if form.name != BASELINE and form.artifact is not None:
        path = fetch_model(blobs, form.artifact, folder / "selected")
    if path is None:
        raise LookupError(f"{form.name} has no file")
    return Selected(form, Contender(path, opening(form, path, threads)), told(result, seconds))


def opening(form: VariantResult, path: Path, threads: int) -> Opening:
    """Return how a form's file is opened, as the measure stage opened it. Pure."""
    return Opening(
        runtime=form.runtime,
        precision=form.precision,
        float_precision=form.float_precision,
        path=path,
        threads=threads,
        compiled=form.torch_mode is TorchMode.COMPILED,
    )


def told(result: MeasureResult, seconds: float) -> dict[str, Any]:
    """Return what the record says of a run. Pure.

    Args:
        seconds: Of the whole run, from a resource to a result.
    """
    return {
        "seconds": round(seconds, 1),
        "selected": result.selected,
        "verdict": result.verdict and result.verdict.to_api(),
        "unstable": any(point.unstable for form in result.everyone for point in form.points),
        "forms": {
            form.name: form.state.value + (f": {form.message}" if form.message else "")
            for form in result.everyone
        },
    }


def _say(stage: str, event: LogLine) -> None:
    if event.step in ("search", "variant", "probe"):
        print(f"    {stage}: {event.message}", file=sys.stderr, flush=True)
