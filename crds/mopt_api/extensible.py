"""Enumerations that an extension may add to, in its own process.

The API server knows the values of the CRD alone; what is added here is for `mopt run`, the library
and images that bring the extension and a CRD that names its value.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from importlib import import_module
from typing import Self

EXTENSIONS_VARIABLE = "MOPT_EXTENSIONS"

_ADDED: dict[tuple[type[ExtensibleEnum], str], ExtensibleEnum] = {}


class ExtensibleEnum(StrEnum):
    """A StrEnum whose classes take further values by add(); pydantic validates these too."""

    @classmethod
    def add(cls, value: str) -> Self:
        """Return the member of a value; a new one where no member has it."""
        try:
            return cls(value)
        except ValueError:
            member = str.__new__(cls, value)
            member._name_ = value.upper()
            member._value_ = value
            _ADDED[cls, value] = member
            return member

    @classmethod
    def _missing_(cls, value: object) -> ExtensibleEnum | None:
        return _ADDED.get((cls, str(value)))


def load_extensions(environ: Mapping[str, str]) -> None:
    """Import the modules that MOPT_EXTENSIONS names, separated by commas; each adds its rows to the
    tables when it is imported.

    Raises:
        ImportError: There is none of that name; the message says which.
    """
    for name in filter(None, environ.get(EXTENSIONS_VARIABLE, "").split(",")):
        import_module(name)
