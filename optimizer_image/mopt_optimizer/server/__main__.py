"""Starts the server: with the environment that libraries read on import, and nobody's keys.

The environment is that of a variant's process when it was measured.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from mopt_optimizer.errors import OptimizerError
from mopt_optimizer.runtimes.registry import variables
from mopt_optimizer.sandbox.environ import child_environ
from mopt_optimizer.stages.measure.process import KEPT_MEMORY

from .arguments import Arguments, parsed
from .reading import described_in

SCRATCH_VARIABLE = "MOPT_SERVE_SCRATCH"
"""Names the folder of the process for what it unpacks and compiles; it removes it."""


def _environment(arguments: Arguments, scratch: Path) -> dict[str, str]:
    folder = described_in(arguments.folder)
    serving = folder.serving(arguments.instances, arguments.threads, arguments.batch)
    opening = folder.opening(serving.threads, scratch)
    return {
        **child_environ(os.environ, scratch),
        **variables(opening, scratch / "compiled"),
        **KEPT_MEMORY,
        SCRATCH_VARIABLE: str(scratch),
    }


def main() -> None:
    """Become the server's process."""
    arguments = parsed(sys.argv[1:])
    scratch = Path(tempfile.mkdtemp(prefix="mopt-serve-"))
    try:
        environ = _environment(arguments, scratch)
    except OptimizerError as error:
        scratch.rmdir()
        sys.exit(f"mopt: {error}")
    module = ["-P", "-m", "mopt_optimizer.server.process"]
    os.execve(  # noqa: S606 - the same interpreter; its signals are ours
        sys.executable, [sys.executable, *module, *arguments.as_list()], environ
    )


if __name__ == "__main__":
    main()
