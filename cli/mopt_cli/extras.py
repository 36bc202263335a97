"""Whether the libraries of a command are installed; `mopt check` and `mopt table` need none."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from urllib.parse import urlsplit

from mopt_api.enums import TargetKind
from mopt_api.runtimes import runtimes_on
from mopt_api.stores import S3

from ._errors import CliError, ExitCode

_CLUSTER = ("kubernetes", "aiohttp")
_PUBLISH = ("model_signing", "OpenSSL", "securesystemslib", "sigstore_models", "dxf")
_SERVE = ("kserve",)
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
    _require(_OPTIMIZER, command, "the optimizer", "pip install 'mopt[cli,optimizer-cpu]'")


def require_demo() -> None:
    """Raise CliError, with what to install, where what `mopt demo` is made of is missing."""
    needed = (*_OPTIMIZER, "skimage", "jinja2")
    _require(needed, "demo", "the optimizer", "pip install 'mopt[cli,optimizer-cpu]'")


def require_cluster(command: str) -> None:
    """Raise CliError, with what to install, where the Kubernetes client is missing."""
    _require(_CLUSTER, command, "the Kubernetes client", "pip install 'mopt[cli]'")


def require_publish(command: str) -> None:
    """Raise CliError, with what to install, where what verifies signatures is missing."""
    _require(_PUBLISH, command, "what verifies signatures", "pip install 'mopt[cli,publish]'")


def require_page(command: str) -> None:
    """Raise CliError, with what to install, where what draws a report's page is missing."""
    _require(("jinja2",), command, "what draws the page", "pip install jinja2")


def require_serve(command: str) -> None:
    """Raise CliError, with what to install, where KServe's server and protocol are missing."""
    _require(_SERVE, command, "KServe's server", "pip install 'mopt[cli,optimizer-cpu,serve]'")


def _require(modules: Iterable[str], command: str, what: str, remedy: str) -> None:
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise CliError(
            f"mopt {command} needs {what} ({', '.join(missing)} missing here): {remedy}",
            ExitCode.FAILED,
        )


def require_store(command: str, uri: str) -> None:
    """Raise CliError, with what to install, where the client of a store is missing."""
    if urlsplit(uri).scheme == S3 and find_spec("minio") is None:
        raise CliError(
            f"mopt {command} needs minio, the S3 client, which is missing here: pip install minio",
            ExitCode.FAILED,
        )
