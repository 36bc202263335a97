"""What the operator is: mopt's version, with a digest of its own code."""

from __future__ import annotations

from mopt_api.version import build_version


def product_version() -> str:
    """Return the version as logs, metrics and the API server's audit log have it: 0.1.0+HEX."""
    return build_version("mopt_api", "mopt_operator")
