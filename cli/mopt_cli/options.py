"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mopt_api.enums import DType, ModelFormat

from ._errors import CliError

ModelArgument = Annotated[Path, typer.Argument(help="Model file: ONNX, .pt2 or TorchScript.")]
FormatHint = Annotated[
    ModelFormat | None,
    typer.Option(help="Format of the model file. Omitted, detected from its content."),
]

VariantOption = Annotated[
    str | None, typer.Option(help="Which form. Omitted, the one that is selected.")
]
ServedNameOption = Annotated[
    str | None,
    typer.Option(help="What clients call the model. Omitted, the resource's or file's name."),
]
PriceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--price-per-hour",
        metavar="[TARGET=]PRICE",
        help="Price of one replica for an hour, in place of the profile's; repeatable.",
    ),
]


def dimensions_of(given: list[str] | None) -> dict[str, int]:
    """Return --dimension NAME=SIZE as a mapping.

    Raises:
        CliError: Not such a pair, or the size is not positive.
    """
    found = {}
    for text in given or []:
        name, separator, size = text.rpartition("=")
        if not separator or not name or not size.isdecimal() or int(size) < 1:
            raise CliError(f"--dimension {text}: NAME=SIZE is needed, such as batch=1")
        found[name] = int(size)
    return found


_DTYPES = frozenset(kind.value for kind in DType)


def types_of(given: list[str] | None) -> dict[str, str]:
    """Return the element types in --input NAME:SHAPE:TYPE, such as ids:1x64:int64, by name."""
    parts = [text.rsplit(":", 2) for text in given or []]
    return {name: kind for name, *_, kind in (p for p in parts if p[-1] in _DTYPES)}


def shapes_of(given: list[str] | None) -> dict[str, list[int]]:
    """Return --input NAME:SHAPE, such as image:1x3x128x128, as a mapping; a type may follow.

    Raises:
        CliError: Not such a pair, or sizes that are not positive numbers.
    """
    found = {}
    for text in given or []:
        bare, _, kind = text.rpartition(":")
        name, separator, shape = (bare if kind in _DTYPES else text).rpartition(":")
        sizes = shape.split("x")
        if not separator or not name or not all(s.isdecimal() and int(s) > 0 for s in sizes):
            raise CliError(f"--input {text}: NAME:SHAPE is needed, such as image:1x3x128x128")
        found[name] = [int(size) for size in sizes]
    return found
