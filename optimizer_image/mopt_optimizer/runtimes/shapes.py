"""The shapes that an input may have. Pure."""

from __future__ import annotations

from collections.abc import Sequence

ShapeRange = Sequence[int] | tuple[Sequence[int], Sequence[int], Sequence[int]]
"""One shape, or (smallest, most frequent, largest)."""
