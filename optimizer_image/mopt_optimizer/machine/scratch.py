"""Whether the scratch volume has the room that a stage takes, before anything is fetched."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from mopt_api.sandbox import SCRATCH_VARIABLE
from mopt_optimizer.errors import DiskError

_GIB = 2**30


def check_scratch(needed: int, workdir: Path, environ: Mapping[str, str], what: str) -> None:
    """Refuse to start what would fill the scratch volume.

    Args:
        needed: Bytes; a lower bound.
        what: What needs them, for people.

    Raises:
        DiskError: Less is free.
    """
    available = shutil.disk_usage(workdir).free
    if size := environ.get(SCRATCH_VARIABLE):
        available = min(available, int(size))
    if needed > available:
        raise DiskError(
            f"{what} needs {needed} bytes of scratch space at least, and {available} are there: "
            f"set scratchSize of the target's profile to {-(-needed // _GIB)}Gi or more"
        )
