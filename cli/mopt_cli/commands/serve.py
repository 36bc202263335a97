"""`mopt serve`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mopt_cli._errors import CliError
from mopt_cli.access import Access
from mopt_cli.cluster_options import (
    ContextOption,
    KubeconfigOption,
    NamespaceOption,
    TargetOption,
    complete_names,
)
from mopt_cli.export_sources import Source, source_of
from mopt_cli.extras import require_optimizer, require_serve
from mopt_cli.looking import resource_of
from mopt_cli.options import ServedNameOption, VariantOption
from mopt_cli.server_process import run_server

if TYPE_CHECKING:
    from mopt_cli.cluster import Raw

_MOST = 1024
_MOST_PORT = 65535


def serve(
    source: Annotated[
        str,
        typer.Argument(
            help="Folder that mopt export wrote, a result.json here or s3://..., or the name of "
            "a ModelOptimization.",
            autocompletion=complete_names,
        ),
    ],
    variant: VariantOption = None,
    name: ServedNameOption = None,
    http_port: Annotated[int, typer.Option(min=1, max=_MOST_PORT, help="Port of HTTP.")] = 8080,
    grpc_port: Annotated[int, typer.Option(min=1, max=_MOST_PORT, help="Port of gRPC.")] = 8081,
    instances: Annotated[
        int | None,
        typer.Option(min=1, max=_MOST, help="Copies that compute at the same time."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, max=_MOST, help="Compute threads of each copy.")
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(min=1, max=_MOST, help="Most samples that are computed together."),
    ] = None,
    target: TargetOption = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Serve a form by Open Inference Protocol v2, over HTTP and gRPC, as it was measured.

    Instances, threads and batch are those that were measured, where they are not given. Files come
    from the output store, with AWS_* of the environment, each verified by its digest.
    """
    require_optimizer("serve")
    require_serve("serve")
    options = {
        "--http-port": http_port,
        "--grpc-port": grpc_port,
        "--instances": instances,
        "--threads": threads,
        "--batch": batch,
        "--name": name,
    }
    given = [f"{option}={value}" for option, value in options.items() if value is not None]
    if Path(source).is_dir():
        if variant is not None or target is not None:
            raise CliError(f"{source} holds one form: leave --variant and --target out")
        _run([*given, "--", source])
        return
    found = _found(source, target, variant, Access(kubeconfig, context, namespace))
    with tempfile.TemporaryDirectory(prefix="mopt-serve-") as scratch:
        _run([*given, "--", str(_exported(found, variant, Path(scratch) / "model", name))])


def _found(source: str, target: str | None, variant: str | None, access: Access) -> Source:
    def resource() -> Raw:
        if "/" in source:
            raise CliError(f"{source} is neither a folder nor a file")
        return resource_of("serve", source, None, access)

    return source_of(source, target, variant, resource)


def _exported(source: Source, variant: str | None, folder: Path, name: str | None) -> Path:
    from mopt_cli.exporting import export
    from mopt_optimizer.serving import Layout

    export(source, variant, Layout.FILES, folder, name)
    return folder


def _run(arguments: list[str]) -> None:
    if (status := run_server(arguments)) != 0:
        # It has said why.
        raise typer.Exit(status if status > 0 else 128 - status)
