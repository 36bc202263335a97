"""What the event loop says when the operator ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

import pytest

from mopt_operator.main import report_loop_error

opened: list[AsyncIterator[int]] = []


async def inner() -> AsyncIterator[int]:
    yield 1


async def outer() -> AsyncIterator[int]:
    """What kopf's infinite_watch is: a stream inside a block that is a generator too."""
    async with contextlib.asynccontextmanager(inner)() as one:
        yield one


async def leave_a_stream_open_and_close_it_inside_out(*, handled: bool) -> None:
    loop = asyncio.get_running_loop()
    if handled:
        loop.set_exception_handler(report_loop_error)
    stream = outer()
    async for _ in stream:
        break
    generators = [*loop._asyncgens]  # type: ignore[attr-defined]
    opened.append(stream)
    for generator in generators:
        if generator is not stream:
            await generator.aclose()


@pytest.mark.parametrize("handled", [True, False])
def test_a_stream_that_is_closed_inside_out_is_no_error(
    caplog: pytest.LogCaptureFixture, handled: bool
) -> None:
    caplog.set_level(logging.DEBUG)
    asyncio.run(leave_a_stream_open_and_close_it_inside_out(handled=handled))
    errors = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert bool(errors) is not handled
    assert any("generator didn't stop" in r.getMessage() for r in caplog.records) is handled


def test_every_other_error_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(report_loop_error)
        loop.call_exception_handler({"message": "lost", "exception": ValueError("why")})

    asyncio.run(fail())
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR] == ["lost"]
