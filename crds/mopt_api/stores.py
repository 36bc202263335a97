"""The kinds of stores, one row each, by the scheme of their uris."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Scheme:
    """One kind of store.

    Attributes:
        shape: Of its uris, as messages have it.
        pattern: Of its uris in a resource; None where only local runs take them.
        keys: Of the Secret with its credentials, and whether each must be there. The same names
            are variables of the environment in local runs.
        secrets: How the names of such variables begin, or begin after an underscore.
        endpoint: The key that says where it is; empty where its uris do.
        model_only: Files can be read and neither listed nor written: the place of a model alone.
    """

    shape: str
    pattern: str | None = None
    keys: Mapping[str, bool] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    endpoint: str = ""
    model_only: bool = False


S3 = "s3"
HTTPS = "https"
FILE = "file"

SCHEMES: dict[str, Scheme] = {
    S3: Scheme(
        shape="s3://BUCKET/KEY",
        pattern=r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^\s\p{Z}\p{Cc}\p{Cf}?#]*)?",
        keys={
            "AWS_ACCESS_KEY_ID": True,
            "AWS_SECRET_ACCESS_KEY": True,
            "AWS_SESSION_TOKEN": False,
            "AWS_ENDPOINT_URL": False,
            "AWS_REGION": False,
            "ca.crt": False,
        },
        secrets=("AWS_", "CA_CRT"),
        endpoint="AWS_ENDPOINT_URL",
    ),
    HTTPS: Scheme(
        shape="https://HOST/PATH",
        # No query: it may hold what grants access, and a resource is no place for that.
        pattern=r"https://[a-zA-Z0-9]([a-zA-Z0-9.-]{0,251}[a-zA-Z0-9])?(:[0-9]{1,5})?"
        r"/[^\s\p{Z}\p{Cc}\p{Cf}?#]+",
        model_only=True,
    ),
    FILE: Scheme(shape="file:///absolute/path"),
}


def uri_pattern(*, model: bool = False) -> str:
    """Return the pattern of the uris that a resource may name.

    Args:
        model: Of a model; else of data and output.
    """
    patterns = [
        scheme.pattern
        for scheme in SCHEMES.values()
        if scheme.pattern is not None and (model or not scheme.model_only)
    ]
    if len(patterns) == 1:
        return f"^{patterns[0]}$"
    return f"^({'|'.join(patterns)})$"


def takes_credentials(uri: str) -> bool:
    """Tell whether the store of a uri is opened with credentials."""
    scheme = SCHEMES.get(uri.partition("://")[0])
    return scheme is None or bool(scheme.keys)


def credential_keys() -> dict[str, bool]:
    """Return the keys of a store's Secret, and whether each must be there whatever the store is."""
    remote = [scheme.keys for scheme in SCHEMES.values() if scheme.keys]
    names = dict.fromkeys(name for keys in remote for name in keys)
    return {name: all(keys.get(name, False) for keys in remote) for name in names}


def shapes(*, model: bool = True) -> str:
    """Return the uris that local runs take, as messages have them.

    Args:
        model: Of models too; else of data and output.
    """
    taken = (each.shape for each in SCHEMES.values() if model or not each.model_only)
    return " nor ".join(taken)
