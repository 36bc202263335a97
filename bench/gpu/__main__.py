"""Runs the parts in the order of their value: `python -m bench.gpu`, as run.sh calls it."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

from .models import Bundle
from .running import Run


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def main() -> None:
    """Measure, or rehearse where there is no GPU."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--started", type=float, default=None, help="when run.sh was, Unix seconds")
    told = parser.parse_args()
    # In order: what is running is ended and the record written.
    signal.signal(signal.SIGTERM, _stop)
    try:
        Bundle.read(told.bundle)
    except FileNotFoundError as error:
        raise SystemExit(str(error)) from error
    started = told.started or time.time()
    run = Run(told.out.resolve(), told.bundle.resolve(), told.workdir.resolve(), started)
    sys.exit(run.run())


if __name__ == "__main__":
    main()
