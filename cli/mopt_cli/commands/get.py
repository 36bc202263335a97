"""`mopt get`."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mopt_api.base import API_VERSION, GROUP, KIND
from mopt_api.text import one_line
from mopt_cli._errors import CliError
from mopt_cli.cluster_options import (
    ContextOption,
    KubeconfigOption,
    NameArgument,
    NamespaceOption,
)
from mopt_cli.extras import require_cluster
from mopt_cli.listing import render_list
from mopt_cli.output import Format, emit, note

if TYPE_CHECKING:
    from mopt_cli.model_optimization import ModelOptimization


class ListFormat(StrEnum):
    """How resources are printed."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


def get(
    name: NameArgument = None,
    everywhere: Annotated[
        bool, typer.Option("--all-namespaces", "-A", help="Those of all namespaces.")
    ] = False,
    selector: Annotated[
        str | None,
        typer.Option("--selector", "-l", help="Of labels, as kubectl's: team=vision,stage!=test."),
    ] = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    form: Annotated[
        ListFormat,
        typer.Option("--format", "-o", help="How they are printed.", case_sensitive=False),
    ] = ListFormat.TABLE,
) -> None:
    """List ModelOptimizations: their conditions, and the winner with its speedup for each target.

    -o json and -o yaml print what the API server has: what the commands with -f read.

    Exit status: 0 done, also where there are none; 1 it cannot be read, 2 wrong usage, or there is
    none of that name.
    """
    if name is not None and (everywhere or selector is not None):
        raise CliError("give a NAME, or all of them with -A or -l")
    require_cluster("get")
    from mopt_cli.client import Client

    client = Client(namespace, context=context, kubeconfig=kubeconfig)
    if name is not None:
        found = [client.get(name)]
    else:
        found = client.resources(selector, everywhere=everywhere)
    if not found:
        note("there are no such ModelOptimizations" + ("" if everywhere else "; -A looks further"))
    if form is ListFormat.NAME:
        for each in found:
            print(one_line(f"{KIND.lower()}.{GROUP}/{each.name}"))
        return
    wide = form is ListFormat.WIDE
    table = render_list(found, datetime.now(UTC), wide=wide, namespaces=everywhere)
    if found or form in (ListFormat.JSON, ListFormat.YAML):
        emit(_data(found, single=name is not None), table, _plain_format(form), whole=True)


def _plain_format(form: ListFormat) -> Format:
    return Format.TABLE if form is ListFormat.WIDE else Format(form.value)


def _data(found: list[ModelOptimization], *, single: bool) -> Any:
    """Return what kubectl get prints: one object, or a list; without who owns which field."""
    items = [{"apiVersion": API_VERSION, "kind": KIND, **each.raw} for each in found]
    for item in items:
        item["metadata"] = {k: v for k, v in item["metadata"].items() if k != "managedFields"}
    return items[0] if single else {"apiVersion": "v1", "kind": "List", "items": items}
