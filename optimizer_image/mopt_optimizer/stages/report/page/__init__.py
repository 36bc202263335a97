"""report.html: one measurement for people, as a single file that refers to nothing outside it."""

from __future__ import annotations

from .page import render_page
from .publishing import publish

__all__ = ["publish", "render_page"]
