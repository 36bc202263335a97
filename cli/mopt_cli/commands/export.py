"""`mopt export`."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from mopt_api.enums import FloatPrecision, Precision
from mopt_api.figures import VariantState
from mopt_cli._errors import CliError
from mopt_cli.access import Access
from mopt_cli.cluster_options import (
    ContextOption,
    KubeconfigOption,
    NamespaceOption,
    TargetOption,
    complete_names,
)
from mopt_cli.export_sources import is_stored, source_of
from mopt_cli.extras import require_optimizer
from mopt_cli.looking import resource_of
from mopt_cli.manifests import Served, inference_service, kustomization, pod, served
from mopt_cli.options import ServedNameOption, VariantOption
from mopt_cli.output import note
from mopt_cli.selections import target_of

if TYPE_CHECKING:
    from mopt_cli.cluster import Raw
    from mopt_cli.exporting import Exported


class As(StrEnum):
    """What to export: a folder that a server loads, or a manifest."""

    TRITON = "triton"
    OVMS = "ovms"
    KSERVE = "kserve"
    FILES = "files"
    KSERVE_YAML = "kserve-yaml"
    POD_YAML = "pod-yaml"
    KUSTOMIZE = "kustomize"


_MANIFESTS = (As.KSERVE_YAML, As.POD_YAML, As.KUSTOMIZE)


def export(
    source: Annotated[
        str,
        typer.Argument(
            help="A result.json here or s3://..., or the name of a ModelOptimization.",
            autocompletion=complete_names,
        ),
    ],
    kind: Annotated[
        As,
        typer.Option(
            "--as",
            help="A folder for a server (triton, ovms, kserve), the files alone, or a manifest of "
            "what was published.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder to make; manifests go to standard output."),
    ] = None,
    target: TargetOption = None,
    variant: VariantOption = None,
    name: ServedNameOption = None,
    image: Annotated[str | None, typer.Option(help="Image of the server; for pod-yaml.")] = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Write what a server loads, with the options that were measured.

    Files come from the output store, with AWS_* of the environment, each verified by its digest.
    """

    def resource() -> Raw:
        return resource_of("export", source, None, Access(kubeconfig, context, namespace))

    if kind in _MANIFESTS:
        _check_printed(kind, source, output, variant)
        _print(_manifest(kind, resource(), target, name, image))
        return
    if output is None:
        raise CliError(f"--as {kind} makes a folder: name it with -o")
    require_optimizer("export")
    found = source_of(source, target, variant, resource)
    _show(_written(found, variant, kind, output, name))


def _print(manifest: dict[str, Any]) -> None:
    print(yaml.safe_dump(manifest, sort_keys=False), end="")


def _check_printed(kind: As, source: str, output: Path | None, variant: str | None) -> None:
    """Refuse what a manifest has no use for."""
    if is_stored(source) or Path(source).is_file():
        raise CliError(
            f"{source} names nothing that is published: give the name of a ModelOptimization"
        )
    if output is not None or variant is not None:
        raise CliError(f"--as {kind} prints what was published: leave -o and --variant out")


def _written(
    source: Any, variant: str | None, kind: As, output: Path, name: str | None
) -> Exported:
    from mopt_cli.exporting import export as exported
    from mopt_optimizer.serving import Layout

    return exported(source, variant, Layout(kind.value), output, name)


def _show(exported: Exported) -> None:
    form = exported.form
    if form.state is VariantState.REJECTED:
        note(f"{form.title} was rejected when it was measured")
    if form.state is VariantState.BUILT:
        note(f"{form.title} was built for GPUs elsewhere, and has never been run")
    for path in exported.paths:
        print(path)


def _manifest(
    kind: As, raw: Raw, target: str | None, name: str | None, image: str | None
) -> dict[str, Any]:
    status = target_of(raw, target)
    form = served(raw, status)
    if name is not None:
        form = replace(form, name=name)
    if kind is As.POD_YAML:
        if image is None:
            server = "OpenVINO Model Server" if form.by_openvino else "Triton"
            raise CliError(f"--as {kind} needs the image of {server}: name it with --image")
        return pod(form, image)
    form = _with_arguments(form)
    return kustomization(form) if kind is As.KUSTOMIZE else inference_service(form)


def _with_arguments(form: Served) -> Served:
    """Return what KServe starts OpenVINO Model Server with, which it does without config.json."""
    if not form.by_openvino:
        return form
    require_optimizer("export")
    from mopt_optimizer.runtimes.openvino.settings import properties
    from mopt_optimizer.serving.layouts.ovms import arguments

    rest = form.artifact.float_precision
    options = properties(
        Precision(form.artifact.precision),
        form.threads,
        form.copies,
        FloatPrecision(rest) if rest else None,
    )
    return replace(form, arguments=tuple(arguments(options)))
