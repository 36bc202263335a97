"""Whether the libraries of a command are installed; `mopt check` and `mopt table` need none."""

from __future__ import annotations

from importlib.util import find_spec

from mopt_api.enums import TargetKind
from mopt_api.runtimes import runtimes_on

from ._errors import CliError, ExitCode

_CLUSTER = ("kubernetes", "aiohttp")
_OPTIMIZER = (
    *(info.module for info in runtimes_on(TargetKind.CPU).values()),
    "onnx",
    "onnxscript",
    "numpy",
    "PIL",
    "minio",
)


def require_optimizer(command: str) -> None:
    """Raise CliError, with what to install, where the optimizer's libraries are missing."""
    missing = [name for name in _OPTIMIZER if find_spec(name) is None]
    if missing:
        raise CliError(
            f"mopt {command} needs the optimizer ({', '.join(missing)} missing here): "
            "pip install 'mopt[cli,optimizer-cpu]'",
            ExitCode.FAILED,
        )


def require_cluster(command: str) -> None:
    """Raise CliError, with what to install, where the Kubernetes client is missing."""
    missing = [name for name in _CLUSTER if find_spec(name) is None]
    if missing:
        raise CliError(
            f"mopt {command} needs the Kubernetes client ({', '.join(missing)} missing here): "
            "pip install 'mopt[cli]'",
            ExitCode.FAILED,
        )
