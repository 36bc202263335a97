"""Stores that lie do not wait between two tries."""

from __future__ import annotations

import pytest

from mopt_optimizer.store import s3, transport


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(s3, "FETCH_PAUSE_SECONDS", 0.01)
