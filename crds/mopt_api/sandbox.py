"""How a process that opens a model is enclosed. Pure; imported before anything that takes time."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

SANDBOX_VARIABLE = "MOPT_SANDBOX"
SCRATCH_VARIABLE = "MOPT_SCRATCH_BYTES"
"""Size of the Job's scratch volume: what the file system shows is the whole node's disk."""


class SandboxMode(StrEnum):
    """What happens where a machine lacks Landlock or seccomp.

    Required: the process ends before it opens anything. BestEffort: it runs behind what there is.
    """

    REQUIRED = "Required"
    BEST_EFFORT = "BestEffort"


def sandbox_mode(environ: Mapping[str, str]) -> SandboxMode:
    """Return the mode that MOPT_SANDBOX names; Required without it.

    Raises:
        ValueError: It names none.
    """
    return SandboxMode(environ.get(SANDBOX_VARIABLE) or SandboxMode.REQUIRED)
