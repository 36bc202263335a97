"""What holds for every test."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes is a matter of the machine, and of what else runs on it. Examples are
# the same ones in each run, so that a failure is of the change that is tested; `hack/test random`
# looks for new ones.
settings.register_profile("mopt", deadline=None, derandomize="MOPT_RANDOM" not in os.environ)
settings.load_profile("mopt")

# A shell starts what it puts into the background, such as this suite, with SIGINT ignored, and so
# would every process that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --record, which each part that has figures writes in its own way.

    Here, since a run that collects two of those parts would add it twice.
    """
    parser.addoption("--record", type=Path, help="write what the run showed to this file")
