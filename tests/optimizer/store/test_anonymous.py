"""A public bucket, read without keys."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mopt_api.jobs.plan import Credentials
from mopt_optimizer.errors import ObjectNotFound, StoreAccessDenied
from mopt_optimizer.store.access import access
from mopt_optimizer.store.identity import Keys
from mopt_optimizer.store.registry import open_store

if TYPE_CHECKING:
    from ..conftest import MinioServer

CONTENT = bytes(range(256)) * 9000
ANONYMOUS = {"MOPT_MODEL_CREDENTIALS": "Anonymous"}


def environ(minio: MinioServer) -> dict[str, str]:
    """Return what a Job has of a model that is public."""
    return {"MOPT_MODEL_AWS_ENDPOINT_URL": minio.endpoint, **ANONYMOUS}


def test_a_public_bucket_is_read_and_listed(minio: MinioServer, tmp_path: Path) -> None:
    bucket = minio.bucket()
    writer, _ = open_store(f"s3://{bucket}", Credentials.OUTPUT, minio.environ())
    writer.put_bytes("e/1.png", CONTENT)
    minio.publish(bucket)
    store, key = open_store(f"s3://{bucket}/e/1.png", Credentials.MODEL, environ(minio))
    assert store.fetch(key, tmp_path / "out") == hashlib.sha256(CONTENT).hexdigest()
    assert store.list("e/") == ["e/1.png"]
    assert store.size("e/2.png") is None
    with pytest.raises(ObjectNotFound, match="read without keys"):
        store.read("e/2.png")
    with pytest.raises(StoreAccessDenied, match="AccessDenied"):
        store.put_bytes("e/3.png", CONTENT)


def test_a_bucket_that_is_not_public_is_denied(minio: MinioServer, tmp_path: Path) -> None:
    store, key = open_store(f"s3://{minio.bucket()}/m", Credentials.MODEL, environ(minio))
    with pytest.raises(StoreAccessDenied, match=r"read without keys \(credentials: Anonymous\)"):
        store.fetch(key, tmp_path / "out")


def test_keys_are_left_out_where_it_is_asked_for_and_nowhere_else(minio: MinioServer) -> None:
    given = minio.environ() | ANONYMOUS | {"AWS_WEB_IDENTITY_TOKEN_FILE": "/token"}
    assert access(Credentials.MODEL, given).keys is None
    assert access(Credentials.MODEL, given).endpoint == minio.endpoint
    assert isinstance(access(Credentials.EVALUATION, given).keys, Keys)
