"""Where the figures of a run go."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_server import INTERVAL, SOONER

from devcluster.tools import KUBERNETES, PROMETHEUS

_HEAD = """# Each alert, provoked

`hack/test alerts`: Prometheus {prometheus} beside a light Kubernetes {kubernetes} cluster and two
operators, Python {python}, {processors} processors. It scrapes them, and judges the chart's rules,
every {interval}. Times in the rules are shorter than the chart's: `for` {for_}, `window` {window},
`seconds` {seconds}; a `for` of 0 is 0 here too. The operators compare all with the cluster every
2 s, not every 300. Before the first, a healthy cluster raises none for 30 s.

| Alert | Provoked by | Fires after |
|---|---|---|
"""


@pytest.fixture(scope="session")
def record(request: pytest.FixtureRequest) -> Iterator[Callable[[str, str, str], None]]:
    """Return a function that notes a row for the file that --record names."""
    named: Path | None = request.config.getoption("--record")
    lines: list[str] = []
    yield lambda *cells: lines.append(f"| {' | '.join(cells)} |\n")
    if named is not None and lines:
        head = _HEAD.format(
            prometheus=PROMETHEUS,
            kubernetes=KUBERNETES,
            python=platform.python_version(),
            processors=os.cpu_count(),
            interval=INTERVAL,
            for_=SOONER["for"],
            seconds=SOONER["seconds"],
            window=SOONER["window"],
        )
        named.write_text(head + "".join(lines))
