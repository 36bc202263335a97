"""What holds for tests of whole measurements."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mopt_optimizer.stages.measure import peaks
from mopt_optimizer.stages.measure.peaks_request import Effort

TINY = Effort(seconds=0.01, channels=16, side=8, matrix=32, data_bytes=(2**20, 2**21))


@pytest.fixture(autouse=True, scope="session")
def _little_effort_for_peaks() -> Iterator[None]:
    """Measure what the machine reaches on less: no test is about how much that is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(peaks, "EFFORT", TINY)
        yield
