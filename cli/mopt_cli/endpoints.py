"""Opens a client of a server, and compares the server with a result."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from rich.console import Console

from mopt_api.log_lines import LogLine, log_line

from ._errors import CliError, ExitCode, work_failed

if TYPE_CHECKING:
    from mopt_optimizer.endpoint.client import Client
    from mopt_optimizer.endpoint.verifying import Asked, Report

_STAGE = "verify"


@contextmanager
def client_of(url: str, *, grpc: bool, timeout: float) -> Iterator[Client]:
    """Yield a client of a server.

    Args:
        url: http://HOST:PORT; for gRPC HOST:PORT too.

    Raises:
        CliError: It is no such address.
    """
    parts = urlsplit(url if "://" in url else f"//{url}")
    schemes = ("", "grpc", "http") if grpc else ("http", "https")
    if parts.scheme not in schemes or not parts.hostname:
        form = "HOST:PORT" if grpc else "http://HOST:PORT"
        raise CliError(f"--url {url} is not {form}")
    client = _opened(parts.netloc if grpc else url, timeout, grpc=grpc)
    try:
        yield client
    finally:
        client.close()


def _opened(address: str, timeout: float, *, grpc: bool) -> Client:
    if grpc:
        from mopt_optimizer.endpoint.grpc import GrpcClient

        return GrpcClient(address, timeout)
    from mopt_optimizer.endpoint.http import HttpClient

    return HttpClient(address, timeout)


@contextmanager
def told() -> Iterator[None]:
    """Turn what a server, a store or a model does wrong into one line."""
    from mopt_optimizer.errors import EndpointError, OptimizerError, ProofRefused
    from mopt_optimizer.sandbox import report_of

    try:
        yield
    except (EndpointError, ProofRefused) as error:
        raise CliError(str(error), ExitCode.FAILED) from error
    except OptimizerError as error:
        raise work_failed(report_of(error)) from error


def model_of(client: Client, wanted: str | None, default: str) -> str:
    """Return what a server calls the model: as asked for, its only one, or by the result's name."""
    if wanted is not None:
        return wanted
    known = client.models()
    if len(known) == 1:
        return known[0]
    if known and default not in known:
        raise CliError(f"{client.where} serves {', '.join(known)}: choose one with --model")
    return default


def compared(client: Client, asked: Asked) -> Report:
    """Return what holds of a server, with progress on standard error.

    Raises:
        OptimizerError: It cannot be compared.
    """
    from mopt_optimizer.endpoint.verifying import verify_endpoint
    from mopt_optimizer.sandbox import hide_environment

    from .interrupting import interruptible
    from .progress import showing

    # What opens the source model must not find the store's keys in our memory.
    hide_environment()
    with (
        interruptible(),
        showing(Console(stderr=True)) as on_event,
        tempfile.TemporaryDirectory(prefix="mopt-verify-") as workdir,
    ):

        def log(step: str, message: str, **fields: object) -> None:
            line = log_line({**fields, "step": step, "message": message})
            on_event(_STAGE, line or LogLine(step=step, message=message))

        return verify_endpoint(client, asked, os.environ, Path(workdir), log)
