"""`mopt watch`."""

from __future__ import annotations

from typing import Annotated

import typer

from mopt_cli.access import Access
from mopt_cli.cluster_options import (
    ContextOption,
    KubeconfigOption,
    NamespaceOption,
    ResourceArgument,
)
from mopt_cli.extras import require_cluster
from mopt_cli.output import Format, FormatOption
from mopt_cli.watching import watch_to_end


def watch(
    name: ResourceArgument,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    form: FormatOption = Format.TABLE,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show what libraries print in the Jobs.")
    ] = False,
) -> None:
    """Follow a resource in a cluster until it is Ready or Stalled, and print its result.

    Exit status: 0 Ready, 3 no variant passed, 2 wrong spec, 1 the work failed or the resource was
    deleted, 130 interrupted.
    """
    require_cluster("watch")
    watch_to_end(name, Access(kubeconfig, context, namespace), form, verbose=verbose)
