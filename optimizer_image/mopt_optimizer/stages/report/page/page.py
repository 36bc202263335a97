"""Renders the page. Pure: everything it shows is in its arguments."""

from __future__ import annotations

from mopt_api.jobs.crops import Crops
from mopt_api.jobs.measure_result import MeasureResult
from mopt_api.jobs.plan import MeasurePlan, ReportPlan
from mopt_api.jobs.prepare_result import PrepareResult
from mopt_api.text import cleaned

from .rendering import rendered
from .sections import Page


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
    page = Page.of(
        cleaned(result),
        cleaned(plan),
        digest=digest,
        manifest=manifest and cleaned(manifest),
        crops=crops and cleaned(crops),
    )
    return rendered("page.html.jinja", page=page)
