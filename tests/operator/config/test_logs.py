"""Which lines the operator's log has."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from mopt_operator.config.logs import configure_logs
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
