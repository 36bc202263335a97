"""The record as Markdown."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def table(runs: list[Json]) -> str:
    """Return what a person asks first."""
    return str(runs)
