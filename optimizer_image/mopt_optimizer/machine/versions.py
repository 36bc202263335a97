"""Versions of what is installed; imports none of it."""

from __future__ import annotations

import os
from importlib import metadata

from mopt_api.extensible import EXTENSIONS_VARIABLE
from mopt_api.version import build_version

PRODUCT = "mopt"
_PACKAGES = ("mopt_api", "mopt_optimizer")
COMPILER = "g++"
"""Name of the C++ compiler among the versions that a measurement depends on."""


def installed_version(*distributions: str) -> str | None:
    """Return the version of the first distribution that is installed; None where none is.

    mopt's own is product_version: in its images it is no distribution.
    """
    for distribution in distributions:
        if distribution == PRODUCT:
            return product_version()
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return None


def product_version(without: frozenset[str] = frozenset()) -> str:
    """Return mopt's version with a digest of its files and of the extensions' that are loaded.

    Args:
        without: Packages and modules whose files do not count.
    """
    extensions = os.environ.get(EXTENSIONS_VARIABLE, "").split(",")
    return build_version(*_PACKAGES, *filter(None, extensions), without=without)
