"""Renders the page. Pure: everything it shows is in its arguments."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from mopt_api.jobs.crops import Crops
from mopt_api.jobs.measure_result import MeasureResult
from mopt_api.jobs.plan import MeasurePlan, ReportPlan
from mopt_api.jobs.prepare_result import PrepareResult
from mopt_api.metrics import metric_in_words
from mopt_api.text import cleaned

from . import figures
from .sections import Page

_FOLDER = Path(__file__).parent / "templates"


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "ratio": figures.ratio,
        "size": figures.size,
        "seconds": figures.seconds,
        "ms": figures.milliseconds,
        "significant": figures.significant,
        "valued": metric_in_words,
    }
    return environment.get_template("page.html.jinja")


def render_page(
    result: MeasureResult,
    plan: MeasurePlan | ReportPlan,
    *,
    digest: str,
    manifest: PrepareResult | None = None,
    crops: Crops | None = None,
) -> str:
    """Return one measurement as an HTML file that loads nothing, its texts clean: see cleaned.

    Args:
        result: Judged.
        plan: What judged it: gates and objective.
        digest: Of result.json.
        manifest: Of the prepare Job; without it its parts of the page are left out.
        crops: The measurement's pictures, if outputs are images.
    """
    style = (_FOLDER / "page.css").read_text(encoding="utf-8")
    return _template().render(
        page=Page.of(
            cleaned(result),
            cleaned(plan),
            digest=digest,
            manifest=manifest and cleaned(manifest),
            crops=crops and cleaned(crops),
        ),
        style=style,
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
    )
