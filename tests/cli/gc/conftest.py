"""Outputs with two results each, and where `mopt gc` learns which is served."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from listing_server import ListingServer, listing
from minio_server import MinioServer
from swept_output import Output

from mopt_api.stores import CLAIMS_VARIABLE


@pytest.fixture
def claim(tmp_path: Path) -> Output:
    (tmp_path / "claims" / "results").mkdir(parents=True)
    return Output("pvc://results/sr", {CLAIMS_VARIABLE: str(tmp_path / "claims")})


@pytest.fixture(params=["folder", "claim", "bucket"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> Output:
    if request.param == "folder":
        return Output((tmp_path / "out").as_uri(), {})
    if request.param == "claim":
        claim: Output = request.getfixturevalue("claim")
        return claim
    minio: MinioServer = request.getfixturevalue("minio")
    keys = minio.keys()
    return Output(f"s3://{minio.bucket()}/team/out", keys)


@pytest.fixture
def local(tmp_path: Path) -> Output:
    return Output((tmp_path / "out").as_uri(), {})


@pytest.fixture
def resources(tmp_path: Path) -> Callable[..., tuple[str, Path]]:
    """Return what writes resources as kubectl lists them, for --resources."""

    def write(*raws: dict[str, Any]) -> tuple[str, Path]:
        path = tmp_path / "resources.json"
        path.write_text(json.dumps({"kind": "List", "apiVersion": "v1", "items": raws}))
        return "--resources", path

    return write


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ListingServer]:
    with listing(ListingServer([])) as server:
        yield server
