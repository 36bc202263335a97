"""The kinds of stores, one row each, by the scheme of their uris."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Place(Enum):
    """What a uri is the place of."""

    MODEL = "model"
    DATA = "data"
    OUTPUT = "output"


@dataclass(frozen=True)
class Scheme:
    """One kind of store.

    Attributes:
        shape: Of its uris, as messages have it.
        pattern: Of its uris in a resource; None where only local runs take them.
        keys: Of the Secret with its credentials, and whether each must be there. The same names
            are variables of the environment in local runs.
        signing: Those of them that say who asks; the others say where the store is.
        secrets: How the names of such variables begin, or begin after an underscore.
        endpoint: The key that says where it is; empty where its uris do.
        places: What may lie there. Output is written; so a place of it is listed too, which a
            folder of data needs. Elsewhere data is one file.
    """

    shape: str
    pattern: str | None = None
    keys: Mapping[str, bool] = field(default_factory=dict)
    signing: frozenset[str] = frozenset()
    secrets: tuple[str, ...] = ()
    endpoint: str = ""
    places: frozenset[Place] = frozenset(Place)


S3 = "s3"
HTTPS = "https"
PVC = "pvc"
OCI = "oci"
FILE = "file"

CLAIMS_VARIABLE = "MOPT_CLAIMS"
"""The folder that holds one folder for each claim, by its name."""
CLAIMS_FOLDER = "/run/mopt/claims"

# As the distribution project's reference grammar has it: a host with a dot, a port, or localhost.
_HOST = r"([a-zA-Z0-9-]+(\.[a-zA-Z0-9-]+)+(:[0-9]{1,5})?|[a-zA-Z0-9-]+:[0-9]{1,5}|localhost)"
_PATH = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
REPOSITORY = rf"{_HOST}(/{_PATH})+"
TAG = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"
# Of a folder in an archive of data.
_INSIDE = r"(#[^\s\p{Z}\p{Cc}\p{Cf}?#]+)?"

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
"""How files are called that hold a folder of data."""

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
        signing=frozenset({"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}),
        secrets=("AWS_", "CA_CRT"),
        endpoint="AWS_ENDPOINT_URL",
    ),
    HTTPS: Scheme(
        shape="https://HOST/PATH",
        # No query: it may hold what grants access, and a resource is no place for that.
        pattern=r"https://[a-zA-Z0-9]([a-zA-Z0-9.-]{0,251}[a-zA-Z0-9])?(:[0-9]{1,5})?"
        r"/[^\s\p{Z}\p{Cc}\p{Cf}?#]+",
        places=frozenset({Place.MODEL, Place.DATA}),
    ),
    PVC: Scheme(
        shape="pvc://CLAIM/PATH",
        pattern=r"pvc://[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?(/[^\s\p{Z}\p{Cc}\p{Cf}?#]*)?",
    ),
    OCI: Scheme(
        shape="oci://HOST/REPOSITORY:TAG",
        pattern=rf"oci://{REPOSITORY}(:{TAG}|@sha256:[0-9a-f]{{64}})(#[^\s\p{{Z}}\p{{Cc}}\p{{Cf}}?#]+)?",
        places=frozenset({Place.MODEL}),
    ),
    FILE: Scheme(shape="file:///absolute/path"),
}


def uri_pattern(place: Place) -> str:
    """Return the pattern of the uris that a resource may name."""
    patterns = [
        scheme.pattern
        for scheme in SCHEMES.values()
        if scheme.pattern is not None and place in scheme.places
    ]
    inside = _INSIDE if place is Place.DATA else ""
    return f"^({'|'.join(patterns)}){inside}$"


def takes_credentials(uri: str) -> bool:
    """Tell whether the store of a uri is opened with credentials."""
    scheme = SCHEMES.get(uri.partition("://")[0])
    return scheme is None or bool(scheme.keys)


def claim_of(uri: str) -> str | None:
    """Return the claim (PersistentVolumeClaim) that a uri lies in; None for another store."""
    scheme, _, rest = uri.partition("#")[0].partition("://")
    return rest.partition("/")[0] if scheme == PVC else None


def credential_keys(*, anonymous: bool = False) -> dict[str, bool]:
    """Return the keys of a store's Secret, and whether each must be there whatever the store is.

    Args:
        anonymous: Only those that say where the store is, and none must be there.
    """
    if anonymous:
        who = {name for scheme in SCHEMES.values() for name in scheme.signing}
        return {name: False for name in credential_keys() if name not in who}
    remote = [scheme.keys for scheme in SCHEMES.values() if scheme.keys]
    names = dict.fromkeys(name for keys in remote for name in keys)
    return {name: all(keys.get(name, False) for keys in remote) for name in names}


def shapes(place: Place = Place.MODEL) -> str:
    """Return the uris that local runs take, as messages have them."""
    return " nor ".join(each.shape for each in SCHEMES.values() if place in each.places)
