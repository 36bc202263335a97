"""`mopt describe`."""

from __future__ import annotations

from datetime import UTC, datetime

from mopt_cli._errors import Forbidden
from mopt_cli.cluster_options import (
    ContextOption,
    KubeconfigOption,
    NamespaceOption,
    ResourceArgument,
)
from mopt_cli.description import Description
from mopt_cli.extras import require_cluster
from mopt_cli.output import Format, FormatOption, emit


def describe(
    name: ResourceArgument,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Print all that is known of a resource: conditions, forms, gates, why each lost, Events.

    Exit status: 0 done, 1 it cannot be read, 2 there is none of that name.
    """
    require_cluster("describe")
    from mopt_cli.client import Client

    client = Client(namespace, context=context, kubeconfig=kubeconfig)
    resource = client.get(name)
    try:
        events = client.events(resource)
    except Forbidden:
        events = None
    found = Description(resource, events, datetime.now(UTC))
    emit(found.to_api(), found.render(), form)
