"""The installed version."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def installed_version() -> str:
    """Return mopt's version; `source` where it runs from a checkout that is not installed."""
    try:
        return version("mopt")
    except PackageNotFoundError:
        return "source"
