"""A worker as any other, for attacks on the mechanism itself."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from mopt_optimizer.progress import Log
from mopt_optimizer.sandbox import serve


def handle(request: dict[str, Any], _workdir: Path, _log: Log) -> dict[str, Any]:
    """Return what it was asked."""
    return {"asked": request}


if __name__ == "__main__":
    sys.exit(serve(handle))
