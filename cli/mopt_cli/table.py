"""The result of a ModelOptimization as a table for a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mopt_api.result import BASELINE, QualityReference, VariantState
from mopt_api.status import ModelOptimizationStatus, TargetStatus, VariantStatus

_NOT_MEASURED = "-"
_STATE_STYLE = {"Passed": "green", "Rejected": "yellow", "Failed": "red", "Skipped": "dim"}


def _ratio(value: float | None) -> str:
    return _NOT_MEASURED if value is None else f"{value:.2f}x"


def _milliseconds(value: float | None) -> str:
    return _NOT_MEASURED if value is None else f"{value:.1f}"


def _mebibytes(size: int | None) -> str:
    return _NOT_MEASURED if size is None else f"{size / 2**20:.2f}"


def _quality(variant: VariantStatus) -> str:
    parts = [f"{q.metric} {'exact' if q.exact else f'{q.worst:.4g}'}" for q in variant.quality]
    return ", ".join(parts) or _NOT_MEASURED


def _row(variant: VariantStatus, selected: str | None) -> tuple[list[str], str]:
    chosen = variant.name == selected
    latency = variant.latency_ms
    cells = [
        f"{'* ' if chosen else '  '}{variant.name}",
        "" if variant.name == BASELINE and variant.state == VariantState.PASSED else variant.state,
        _milliseconds(latency.p50 if latency else None),
        _milliseconds(latency.p99 if latency else None),
        _ratio(variant.speedup),
        _ratio(variant.speedup_over_fastest_fp32),
        _quality(variant),
        _mebibytes(variant.size_bytes),
        _mebibytes(variant.peak_memory_bytes),
    ]
    style = "bold green" if chosen else _STATE_STYLE.get(variant.state, "")
    return cells, style


def _target(target: TargetStatus) -> RenderableType:
    hardware = target.hardware
    by_truth = target.reference == QualityReference.GROUND_TRUTH
    rows = Table(
        title=f"target {target.name}: {hardware.cpu or 'unknown CPU'}, "
        f"{hardware.threads or '?'} threads, point {target.point}"
        + (", quality against ground truth" if by_truth else ""),
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
    )
    rows.add_column("VARIANT", no_wrap=True)
    rows.add_column("STATE")
    for heading in ("P50 ms", "P99 ms", "SPEEDUP", "OVER FP32"):
        rows.add_column(heading, justify="right")
    rows.add_column("WORST QUALITY")
    for heading in ("MiB", "PEAK MiB"):
        rows.add_column(heading, justify="right")
    for variant in (target.baseline, *target.variants):
        cells, style = _row(variant, target.selected)
        rows.add_row(*cells, style=style)
    notes = [
        Text(f"{v.name}: {v.reason}: {v.message or ''}", style="dim")
        for v in (target.baseline, *target.variants)
        if v.reason
    ]
    where = [Text(f"result: {target.report.uri}", style="dim")]
    if target.report.page:
        where.append(Text(f"report: {target.report.page}", style="dim"))
    return Group(rows, *notes, *where)


def render(resource: dict[str, Any]) -> RenderableType:
    """Return what a terminal shows of a resource's status.

    Args:
        resource: A ModelOptimization as the API server returns it.
    """
    status = ModelOptimizationStatus.model_validate(resource.get("status") or {})
    parts: list[RenderableType] = [
        Text(f"{c.type}={c.status} {c.reason}: {c.message}") for c in status.conditions
    ]
    parts += [_target(target) for target in status.targets]
    return Group(*(parts or [Text("no status yet")]))
