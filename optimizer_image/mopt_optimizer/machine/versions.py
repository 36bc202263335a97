"""Versions of what is installed; imports none of it."""

from __future__ import annotations

from importlib import metadata

COMPILER = "g++"
"""Name of the C++ compiler among the versions that a measurement depends on."""


def installed_version(*distributions: str) -> str | None:
    """Return the version of the first distribution that is installed; None where none is."""
    for distribution in distributions:
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return None
