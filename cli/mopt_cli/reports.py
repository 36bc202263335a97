"""`mopt report`: the page of a result, or of several targets, from what stores hold under digests.

The page that a Job left in the store has a name, and no digest that anything states. So it is drawn
again, from result.json, its pictures and the manifest of prepare, each verified: whoever can write
to the store cannot put a page of their own into a browser.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from mopt_api.jobs.crops import Crops
from mopt_api.jobs.plan import MeasurePlan
from mopt_api.jobs.prepare_result import PrepareResult
from mopt_api.text import plain

from ._errors import CliError, ExitCode, store_failed
from .export_sources import (
    Source,
    file_source,
    is_stored,
    latest_source,
    opened_blobs,
    stored_source,
)
from .extras import require_store
from .selections import name_of, status_of, target_of
from .sizing import Choice, Prices

if TYPE_CHECKING:
    from mopt_optimizer.store.blobs import Blobs

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")


@dataclass(frozen=True)
class Drawing:
    """A page, as HTML that loads nothing.

    Attributes:
        name: What the model is called.
        target: Whose page it is; None of several targets.
        told: What it was drawn from, for the user.
    """

    html: str
    name: str
    target: str | None
    told: str


def of_resource(raw: Mapping[str, object], target: str | None, prices: Prices) -> Drawing:
    """Return the page of a target's latest result; of all targets where none is named.

    Raises:
        CliError: The store refuses, or holds other bytes; or a result is of another version.
    """
    targets = status_of(raw).targets
    if target is None and len(targets) > 1:
        for each in targets:
            require_store("report", each.report.uri)
        sources = [latest_source(raw, each.name) for each in targets]
        told = f"drawn from the results of {len(sources)} targets, verified; --target draws one"
        return _together(name_of(raw), sources, Choice.of_resource(raw, prices), told)
    found = target_of(raw, target)
    _refuse_prices(prices)
    require_store("report", found.report.uri)
    source = latest_source(raw, found.name)
    html = _alone(source, found.report.uri, found.report.page)
    return Drawing(html, source.name, found.name, f"drawn from {source.digest}, verified")


def of_results(texts: Sequence[str], target: str | None, prices: Prices) -> Drawing:
    """Return the page of a result.json here or in a store, or of several, each of one target.

    Raises:
        CliError: As source_of and Choice.of_results; or as of_resource.
    """
    if target is not None and len(texts) > 1:
        raise CliError("--target chooses among a resource's targets: give the result.json of one")
    sources = [_source(text, target) for text in texts]
    if len(sources) > 1:
        choice = Choice.of_results([source.result for source in sources], prices)
        told = f"drawn from {len(sources)} results"
        return _together(sources[0].name, sources, choice, told)
    _refuse_prices(prices)
    (source,) = sources
    html = _alone(source, texts[0], None)
    return Drawing(html, source.name, source.result.target, f"drawn from {source.digest}")


def _source(text: str, target: str | None) -> Source:
    if is_stored(text):
        require_store("report", text)
        return stored_source(text, target)
    return file_source(Path(text), target)


def _refuse_prices(prices: Prices) -> None:
    if prices.every is not None or prices.of_target:
        raise CliError("--price-per-hour compares targets: this is the page of one")


def _together(name: str, sources: Sequence[Source], choice: Choice, told: str) -> Drawing:
    from .pages.targets_page import Stored, render_targets_page

    stored = [Stored(source.result, source.digest) for source in sources]
    return Drawing(render_targets_page(name, stored, choice), name, None, told)


def _alone(source: Source, where: str, page: str | None) -> str:
    """Return the page of a result.

    What is not in the store, pictures or the manifest, is left out.

    Args:
        where: The result is from, for messages.
        page: Location of the page that its Job drew.
    """
    from mopt_optimizer.errors import OptimizerError
    from mopt_optimizer.sandbox import report_of
    from mopt_optimizer.stages.report.page import render_page

    result = source.result
    blobs = opened_blobs(source.root) if source.root else None
    try:
        prepared = blobs and _read(blobs, result.prepared)
        pictures = blobs and result.crops and _read(blobs, result.crops)
    except OptimizerError as error:
        raise store_failed(report_of(error)) from error
    try:
        return render_page(
            result,
            MeasurePlan.model_validate(result.plan),
            digest=source.digest,
            manifest=PrepareResult.model_validate_json(prepared) if prepared else None,
            crops=Crops.model_validate_json(pictures) if pictures else None,
        )
    except ValidationError as error:
        drew = f": the page that it drew, not verified, is {page}" if page else ""
        raise CliError(
            f"{where} is of another version of mopt, which alone draws it{drew}", ExitCode.FAILED
        ) from error


def _read(blobs: Blobs, digest: str) -> bytes | None:
    from mopt_optimizer.errors import ObjectNotFound

    try:
        return blobs.read(digest)
    except ObjectNotFound:
        return None


def page_path(output: str | None, name: str, target: str | None) -> Path:
    """Return where -o FILE|DIR puts the page of a target. Pure, but for what is a folder.

    Args:
        target: None of several.
    """
    stem = f"{name}-{target}" if target else name
    # A resource in a file may have any name.
    usual = f"{stem}.html" if _FILE_NAME.fullmatch(stem) else "report.html"
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
