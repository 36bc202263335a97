"""Which cluster a command asks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Access:
    """Which cluster, as in kubectl's options; None is the kubeconfig's default."""

    kubeconfig: Path | None = None
    context: str | None = None
    namespace: str | None = None
