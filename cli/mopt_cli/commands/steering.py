"""`mopt rerun`, `mopt suspend` and `mopt resume`: a request each, and --wait for what it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from mopt_api.base import REQUESTED_AT_ANNOTATION
from mopt_api.text import one_line
from mopt_cli.access import Access
from mopt_cli.cluster_options import (
    ContextOption,
    KubeconfigOption,
    NamespaceOption,
    ResourceArgument,
)
from mopt_cli.extras import require_cluster
from mopt_cli.interrupting import interruptible
from mopt_cli.output import Format, FormatOption, emit, note
from mopt_cli.watching import watch_to_end

if TYPE_CHECKING:
    from mopt_cli.model_optimization import ModelOptimization

_WaitOption = Annotated[
    bool, typer.Option("--wait", help="Follow it until it is Ready or Stalled, as mopt watch.")
]


def rerun(
    name: ResourceArgument,
    wait: _WaitOption = False,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Ask for a new run of everything: sets the annotation mopt.dev/requestedAt.

    What is served stays until another form is selected.

    Exit status: 0 done, 1 it is refused, 2 there is none of that name; with --wait as of watch.
    """
    require_cluster("rerun")
    from mopt_cli.client import Client

    resource = Client(namespace, context=context, kubeconfig=kubeconfig).rerun(name)
    if resource.suspended:
        note(f"{name} is suspended: the run begins with mopt resume {name}")
    _end(resource, "a new run is asked for", Access(kubeconfig, context, namespace), form, wait)


def suspend(
    name: ResourceArgument,
    wait: Annotated[
        bool, typer.Option("--wait", help="Until the operator has ended what ran.")
    ] = False,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Run no Jobs of a resource, and delete those that run: sets spec.execution.suspend.

    Results are kept, and what is served stays.

    Exit status: 0 done, 1 it is refused, 2 there is none of that name, 130 interrupted.
    """
    require_cluster("suspend")
    from mopt_cli.client import Client

    client = Client(namespace, context=context, kubeconfig=kubeconfig)
    resource = client.suspend(name)
    if wait:
        with interruptible("it stays suspended"):
            resource = client.wait(name)
    _tell(resource, "suspended: no Jobs run, and results are kept", form)


def resume(
    name: ResourceArgument,
    wait: _WaitOption = False,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Let the Jobs of a suspended resource run again: sets spec.execution.suspend to false.

    Exit status: 0 done, 1 it is refused, 2 there is none of that name; with --wait as of watch.
    """
    require_cluster("resume")
    from mopt_cli.client import Client

    resource = Client(namespace, context=context, kubeconfig=kubeconfig).resume(name)
    _end(resource, "resumed: its Jobs may run", Access(kubeconfig, context, namespace), form, wait)


def _end(resource: ModelOptimization, said: str, access: Access, form: Format, wait: bool) -> None:
    if not wait:
        _tell(resource, said, form)
        return
    note(f"{resource.name}: {said}")
    watch_to_end(resource.name, access, form)


def _tell(resource: ModelOptimization, said: str, form: Format) -> None:
    """Print what became of a request."""
    annotations = resource.raw["metadata"].get("annotations") or {}
    data = {
        "name": resource.name,
        "namespace": resource.namespace,
        "suspended": resource.suspended,
        "requestedAt": annotations.get(REQUESTED_AT_ANNOTATION),
    }
    emit(data, Text(one_line(f"{resource.namespace}/{resource.name}: {said}")), form)
