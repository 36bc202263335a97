"""Amounts as Kubernetes writes them, and times: how they are written, and what they are."""

from __future__ import annotations

import string
from fractions import Fraction
from typing import Annotated

from pydantic import Field

from .base import int_or_string

# Kubernetes' suffixes, all of them: decimal (k in lowercase only), binary, and an exponent.
QUANTITY_PATTERN = r"^[0-9]+(\.[0-9]+)?([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,2})?$"
Quantity = Annotated[
    # Strict: else the text "-1" would be taken for a number, which no pattern checks.
    Annotated[int, Field(strict=True, ge=0)]
    | Annotated[str, Field(max_length=32, pattern=QUANTITY_PATTERN)],
    Field(json_schema_extra=int_or_string(minimum=0, maxLength=32, pattern=QUANTITY_PATTERN)),
]

# A number and a unit, as LatencyP99's bound.
DURATION_PATTERN = r"^[0-9]+([.][0-9]+)?(us|ms|s)$"  # Also in CEL, where a backslash is an escape.
_MILLISECONDS = {"us": Fraction(1, 1000), "ms": Fraction(1), "s": Fraction(1000)}

# kubernetes.utils.parse_quantity is not used: its package reads the environment and the network,
# which no decision may, and it takes 1K, which the API server refuses.
_SCALES = {
    "": Fraction(1),
    **{letter: Fraction(1, 1000**power) for power, letter in enumerate("mun", 1)},
    **{letter: Fraction(1000**power) for power, letter in enumerate("kMGTPE", 1)},
    **{f"{letter}i": Fraction(1024**power) for power, letter in enumerate("KMGTPE", 1)},
}


def amount(quantity: int | str) -> Fraction:
    """Return a quantity as an exact number: "2Gi" is 2147483648, "500m" is 1/2, "1e3" is 1000.

    Args:
        quantity: As the API's pattern admits it.
    """
    text = str(quantity)
    # What is left may end in an exponent: 1e3. A bare E is the suffix exa.
    number = text.rstrip(string.ascii_letters)
    return Fraction(number) * _SCALES[text[len(number) :]]


def milliseconds(duration: str) -> Fraction:
    """Return a duration in milliseconds: "50ms" is 50, "1.5s" is 1500.

    Args:
        duration: As DURATION_PATTERN admits it.
    """
    unit = duration.lstrip("0123456789.")
    return Fraction(duration.removesuffix(unit)) * _MILLISECONDS[unit]


def significant(value: float, digits: int = 3) -> str:
    """Return a number with that many significant digits, trailing zeros kept, no exponent
    between 0.0001 and a million."""
    text = f"{value:#.{digits}g}"
    if "e" in text and 1 <= abs(value) < 1e6:
        text = f"{value:.0f}"
    return text.rstrip(".")
