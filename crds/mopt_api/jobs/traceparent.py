"""Which trace a Job belongs to: the traceparent header of W3C's Trace Context. Pure."""

from __future__ import annotations

import re
from typing import Annotated, NamedTuple, Self

from pydantic import AfterValidator, Field

from mopt_api.base import ApiModel

_HEADER = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_SAMPLED = 1


class TraceContext(NamedTuple):
    """A span, by which what it has others do is attached to it.

    Attributes:
        trace_id: 128 bits, not 0.
        span_id: 64 bits, not 0.
        sampled: Whether the spans of this trace are kept at all.
    """

    trace_id: int
    span_id: int
    sampled: bool

    @classmethod
    def parse(cls, header: str) -> Self:
        """Return the span that a traceparent names.

        Raises:
            ValueError: It is none of version 00.
        """
        found = _HEADER.fullmatch(header)
        if found is None:
            raise ValueError(f"{header[:64]!r} is no traceparent of version 00")
        trace_id, span_id, flags = (int(part, 16) for part in found.groups())
        if not (trace_id and span_id):
            raise ValueError("a traceparent of zeros names no span")
        return cls(trace_id, span_id, bool(flags & _SAMPLED))

    @property
    def header(self) -> str:
        """The traceparent that names it."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{int(self.sampled):02x}"


def trace_context(header: str | None) -> TraceContext | None:
    """Return the span that a traceparent names; None where it is absent or names none."""
    try:
        return TraceContext.parse(header) if header else None
    except ValueError:
        return None


def _parsed(header: str) -> str:
    TraceContext.parse(header)
    return header


class TracedPlan(ApiModel):
    """A plan, which may name the span that its Job belongs to.

    That is no part of the work: neither a Job's name nor a result depends on it.
    """

    traceparent: Annotated[str, Field(max_length=55), AfterValidator(_parsed)] | None = Field(
        default=None, description="Span of the Job; absent where nothing is traced."
    )

    def without_trace(self) -> Self:
        """Return the plan as it is where nothing is traced."""
        return self.model_copy(update={"traceparent": None})
