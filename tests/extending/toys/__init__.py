"""What an extension adds, each kind once: a runtime, a pass, a metric, a source format, a store.

Each adds its rows when it is imported, as MOPT_EXTENSIONS=toys has every process do.
"""

from __future__ import annotations

from . import metric, reference, rewriting, sqlite, text

__all__ = ["metric", "reference", "rewriting", "sqlite", "text"]
