"""`mopt report`: the page of a target's result, from what the store holds under its digests.

The page that a Job left in the store has a name, and no digest that anything states. So it is drawn
again, from result.json, its pictures and the manifest of prepare, each verified: whoever can write
to the store cannot put a page of their own into a browser.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from mopt_api.jobs.crops import Crops
from mopt_api.jobs.plan import MeasurePlan
from mopt_api.jobs.prepare_result import PrepareResult
from mopt_api.status import TargetStatus
from mopt_api.text import plain

from ._errors import CliError, ExitCode, store_failed
from .export_sources import opened_blobs, report_root
from .results import parsed_result

if TYPE_CHECKING:
    from mopt_optimizer.store.blobs import Blobs

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")


def drawn_page(raw: Mapping[str, object], target: TargetStatus) -> str:
    """Return the page of a target's latest result, as HTML that loads nothing.

    What was removed from the store since, pictures or the manifest, is left out.

    Raises:
        CliError: The store refuses, or holds other bytes; or the result is of another version.
    """
    from mopt_optimizer.errors import OptimizerError
    from mopt_optimizer.sandbox import report_of
    from mopt_optimizer.stages.report.page import render_page

    report = target.report
    blobs = opened_blobs(report_root(raw, target))
    try:
        result = parsed_result(blobs.read(report.digest), report.uri)
        prepared = _read(blobs, result.prepared)
        pictures = _read(blobs, result.crops) if result.crops else None
    except OptimizerError as error:
        raise store_failed(report_of(error)) from error
    try:
        return render_page(
            result,
            MeasurePlan.model_validate(result.plan),
            digest=report.digest,
            manifest=None if prepared is None else PrepareResult.model_validate_json(prepared),
            crops=None if pictures is None else Crops.model_validate_json(pictures),
        )
    except ValidationError as error:
        raise CliError(
            f"{report.uri} is of another version of mopt, which alone draws it: the page that it "
            f"drew, not verified, is {report.page or 'not named in status'}",
            ExitCode.FAILED,
        ) from error


def _read(blobs: Blobs, digest: str) -> bytes | None:
    from mopt_optimizer.errors import ObjectNotFound

    try:
        return blobs.read(digest)
    except ObjectNotFound:
        return None


def page_path(output: str | None, name: str, target: str) -> Path:
    """Return where -o FILE|DIR puts the page of a target. Pure, but for what is a folder."""
    # A resource in a file may have any name.
    usual = f"{name}-{target}.html" if _FILE_NAME.fullmatch(f"{name}-{target}") else "report.html"
    if output is None:
        return Path(usual)
    return Path(output) / usual if output.endswith("/") or Path(output).is_dir() else Path(output)


def write_page(page: str, path: Path) -> None:
    """Write a page, whole or not at all.

    Raises:
        CliError: It cannot be written there.
    """
    arriving = path.with_name(f".{path.name}.arriving")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        arriving.write_text(page, encoding="utf-8")
        arriving.replace(path)
    except OSError as error:
        with suppress(OSError):
            arriving.unlink()
        raise CliError(f"{path} cannot be written: {plain(str(error))}", ExitCode.FAILED) from error
