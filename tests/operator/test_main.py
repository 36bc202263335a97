"""What the event loop says when the operator ends; traces, where they are on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest

from mopt_operator.config.settings import Settings
from mopt_operator.config.tracing import Tracing
from mopt_operator.main import report_loop_error, traces_of

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


def test_without_traces_nothing_of_them_is_imported() -> None:
    program = (
        "import sys; from mopt_operator.config.settings import Settings;"
        "from mopt_operator.main import traces_of;"
        "assert traces_of(Settings(optimizer_image='x')) is None;"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_variables_that_opentelemetry_cannot_read_keep_no_operator_from_its_work(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "0")
    settings = Settings(optimizer_image="x", tracing=Tracing(endpoint="http://collector:4318"))
    assert traces_of(settings) is None
    (record,) = caplog.records
    assert record.getMessage().startswith("There are no traces: ")
