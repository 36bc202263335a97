"""`mopt fetch`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from mopt_api.artifacts import Artifact
from mopt_cli._errors import CliError
from mopt_cli.access import Access
from mopt_cli.cluster_options import (
    ContextOption,
    FromOption,
    KubeconfigOption,
    NamespaceOption,
    TargetOption,
    complete_names,
)
from mopt_cli.extras import require_store
from mopt_cli.interrupting import interruptible
from mopt_cli.looking import resource_of
from mopt_cli.results import RESULT_SUFFIX, read_result
from mopt_cli.selections import artifact_of, artifact_of_result, name_of


def fetch(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Name of the ModelOptimization, or a result.json.", autocompletion=complete_names
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="File or folder to write; a folder is there or ends in /. Omitted, a folder with "
            "the resource's name.",
        ),
    ] = None,
    source: FromOption = None,
    target: TargetOption = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Download what a resource serves, its digest verified, and print the file's path.

    The store's keys are read from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL.

    Exit status: 0 the file is there, verified; 1 it could not be had; 2 wrong usage; 3 a result
    that selects nothing; 130 interrupted.
    """
    from mopt_cli.downloading import destination, download, files_of, said

    artifact, whose = _selected(name, source, target, Access(kubeconfig, context, namespace))
    folder, file = destination(output, whose)
    files = files_of(artifact, file)
    require_store("fetch", files[-1].uri)
    with interruptible():
        print(said(download(files, folder, os.environ)))


def _selected(
    name: str | None, source: Path | None, target: str | None, access: Access
) -> tuple[Artifact, str]:
    """Return what to fetch, and whose it is."""
    if source is None and name is not None and name.endswith(RESULT_SUFFIX):
        file = Path(name)
        if not file.is_file():
            raise CliError(f"{file} is not a file; for a ModelOptimization in a file use -f")
        result = read_result(file)
        return artifact_of_result(result, target), result.target
    raw = resource_of("fetch", name, source, access)
    return artifact_of(raw, target), name_of(raw)
