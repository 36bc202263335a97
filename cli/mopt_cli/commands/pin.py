"""`mopt pin`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mopt_cli.access import Access
from mopt_cli.cluster_options import (
    ContextOption,
    FromOption,
    KubeconfigOption,
    NameArgument,
    NamespaceOption,
    TargetOption,
)
from mopt_cli.looking import resource_of
from mopt_cli.output import Format, FormatOption, note
from mopt_cli.pinning import (
    AsOption,
    CheckOption,
    DocumentNameOption,
    KindOption,
    Place,
)
from mopt_cli.pinning import pin as pin_value
from mopt_cli.selections import PinAs, behind, served
from mopt_cli.yaml_edit import Wanted


def pin(
    file: Annotated[Path, typer.Option("--file", help="YAML file that is changed in place.")],
    path: Annotated[
        str,
        typer.Option(
            "--path", help="Its value, such as .spec.containers[name=main].image or .items[0].x."
        ),
    ],
    name: NameArgument = None,
    source: FromOption = None,
    target: TargetOption = None,
    how: AsOption = None,
    kind: KindOption = None,
    document: DocumentNameOption = None,
    check: CheckOption = False,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Write what a resource publishes into a YAML file, and change not one byte beside it.

    Exit status: 0 the file names it now, 1 --check: the file is behind; or nothing is selected or
    published, 2 wrong usage, such as a path that is not there.
    """
    raw = resource_of("pin", name, source, Access(kubeconfig, context, namespace))
    how = how or PinAs.REFERENCE
    value = served(raw, target).named(how)
    if how not in (PinAs.URI, PinAs.ARTIFACT) and (pending := behind(raw, target)):
        note(pending)
    pin_value(Place(file, path, Wanted(kind, document), check), value, form)
