"""The span that a plan names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis.strategies import booleans, builds, integers

from mopt_api.jobs.traceparent import TraceContext, trace_context

CONTEXTS = builds(
    TraceContext,
    trace_id=integers(1, 2**128 - 1),
    span_id=integers(1, 2**64 - 1),
    sampled=booleans(),
)


@given(CONTEXTS)
def test_what_is_written_is_read(context: TraceContext) -> None:
    assert len(context.header) == 55
    assert TraceContext.parse(context.header) == context


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        f"01-{'1' * 32}-{'1' * 16}-01",
        f"00-{'A' * 32}-{'1' * 16}-01",
        f"00-{'1' * 31}-{'1' * 16}-01",
        f"00-{'1' * 32}-{'1' * 16}-01\n",
        f"00-{'1' * 32}-{'1' * 16}-01-more",
        f"00-{'0' * 32}-{'1' * 16}-01",
        f"00-{'1' * 32}-{'0' * 16}-01",
    ],
)
def test_what_names_no_span(header: str) -> None:
    assert trace_context(header) is None
    with pytest.raises(ValueError, match="traceparent"):
        TraceContext.parse(header)


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("03", True)])
def test_flags_that_are_not_known_are_ignored(flags: str, sampled: bool) -> None:
    assert TraceContext.parse(f"00-{'1' * 32}-{'1' * 16}-{flags}").sampled is sampled
