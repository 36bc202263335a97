"""Measures a published form again on this machine, as the measure stage of a Job does."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from mopt_api.jobs.measure_result import MeasureResult
from mopt_api.jobs.plan import Credentials, MeasurePlan
from mopt_api.jobs.termination import MeasureSummary

from ._errors import CliError, ExitCode

if TYPE_CHECKING:
    from mopt_optimizer.proofs.checks import Check
    from mopt_optimizer.proofs.reading import Repository


@dataclass(frozen=True)
class Measured:
    """What a stranger has.

    Attributes:
        data: Folder of the evaluation data.
        source: The source model's file.
        references: Folder of the ground truth, where quality was compared with it.
    """

    data: Path
    source: Path
    references: Path | None = None


def measured_again(
    repository: Repository,
    manifest: Mapping[str, Any],
    quality: Mapping[str, Any],
    given: Measured,
    *,
    verbose: bool,
) -> Sequence[Check]:
    """Return what holds of a statement beside a measurement on this machine.

    Args:
        manifest: Of the image whose key signed the statement.

    Raises:
        ProofRefused: It cannot be measured from what the image and the statement hold.
        CliError: The measurement failed.
    """
    from mopt_optimizer.proofs.again import Places, compared, file_uri, manifest_of, plan_of
    from mopt_optimizer.proofs.reading import unpack
    from mopt_optimizer.store.blobs import Blobs
    from mopt_optimizer.store.registry import open_store

    with tempfile.TemporaryDirectory(prefix="mopt-verify-") as scratch:
        models, output = Path(scratch, "models"), Path(scratch, "output")
        for folder in (models, output):
            folder.mkdir()
        found = unpack(repository, manifest, models)
        blobs = Blobs(*open_store(file_uri(output), Credentials.OUTPUT, os.environ))
        for path in found:
            blobs.put_file(models / path)
        prepared = blobs.put_bytes(json.dumps(manifest_of(quality).to_api()).encode())
        references = file_uri(given.references) if given.references else None
        places = Places(file_uri(given.source), file_uri(given.data), file_uri(output), references)
        summary = _run(plan_of(quality, prepared, places), Path(scratch), verbose=verbose)
        result = MeasureResult.model_validate_json(blobs.read(summary.result))
    return list(compared(quality, result))


def _run(plan: MeasurePlan, scratch: Path, *, verbose: bool) -> MeasureSummary:
    from mopt_cli.interrupting import interruptible
    from mopt_cli.progress import showing
    from mopt_cli.running import run_stage
    from mopt_optimizer.sandbox import hide_environment

    hide_environment()
    workdir = scratch / "work"
    workdir.mkdir()
    with (
        interruptible(),
        showing(Console(stderr=True)) as on_event,
        Path(os.devnull).open("wb") as nowhere,
    ):
        summary = run_stage(plan, workdir, on_event, stderr=None if verbose else nowhere)
    if not isinstance(summary, MeasureSummary):
        raise CliError("the measurement ended without a result", ExitCode.FAILED)
    return summary
