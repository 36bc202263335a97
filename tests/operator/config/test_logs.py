"""Which lines the operator's log has."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator

import pytest

from mopt_operator.config.logs import configure_logs, new_look
from mopt_operator.config.settings import LogFormat, LogLevel

NAMES = ("mopt_operator", "kopf.objects", "aiohttp.access")


@pytest.fixture(autouse=True)
def unchanged() -> Iterator[None]:
    """Leave logging as it was."""
    root = logging.getLogger()
    handlers, levels = list(root.handlers), {n: logging.getLogger(n).level for n in ("", *NAMES)}
    yield
    root.handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.parametrize(
    ("level", "least"),
    [
        # kopf's lines of each handler and aiohttp's of each probe are not for every day.
        (LogLevel.INFO, [logging.INFO, logging.WARNING, logging.WARNING]),
        (LogLevel.DEBUG, [logging.DEBUG] * 3),
        (LogLevel.WARNING, [logging.WARNING] * 3),
        (LogLevel.ERROR, [logging.ERROR] * 3),
    ],
)
def test_least_level_of_each_logger(level: LogLevel, least: list[int]) -> None:
    configure_logs(LogFormat.JSON, level)
    assert [logging.getLogger(name).getEffectiveLevel() for name in NAMES] == least


def test_lines_of_one_look_have_one_id(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(LogFormat.JSON, LogLevel.INFO)
    log = logging.getLogger("mopt_operator.test")

    async def look(name: str) -> None:
        fields = new_look("team", name, 3)
        log.info("first", extra=fields)
        await asyncio.sleep(0)  # The other one is at work meanwhile.
        log.info("second")

    async def both() -> None:
        log.info("outside")
        await asyncio.gather(look("a"), look("b"))

    asyncio.run(both())
    outside, *lines = map(json.loads, capsys.readouterr().err.splitlines())
    assert "reconcileID" not in outside
    assert [line["message"] for line in lines] == ["first", "first", "second", "second"]
    ids = [line["reconcileID"] for line in lines]
    assert ids[:2] == ids[2:]
    assert len(set(ids)) == 2
    assert lines[0] | {"namespace": "team", "name": "a", "generation": 3} == lines[0]
