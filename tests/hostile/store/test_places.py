"""Endpoints and uris that are malformed, or hold what must not be shown."""

from __future__ import annotations

import pytest

from mopt_api.jobs.plan import Credentials
from mopt_optimizer.errors import SpecError, StoreUnreachable
from mopt_optimizer.store.registry import open_store

PASSWORD = "hunter2"
ENDPOINTS = [
    f"http://user:{PASSWORD}@minio:9000",
    f"http://user:{PASSWORD}@minio:9000/path",
    f"https://{PASSWORD}@minio",
    f"user:{PASSWORD}@minio:9000",
    f"http://user:pa@ss:{PASSWORD}@minio:nine",
    f"ftp://user:{PASSWORD}@minio",
    f"https://bucket.s3.amazonaws.com/key?X-Amz-Signature={PASSWORD}",
    f"http://[::1?{PASSWORD}",
    f"http://user:{PASSWORD}@[::1",
    f"http://user:{PASSWORD}\x1b[2J@minio\r\nmopt: forged",
    "http://[::1",
    "http://minio:99999",
    "http://minio:nine",
    "http://mi nio",
    "http://min\u202eio",
    "http://minio/\x1b[2J",
    "//minio",
    "http:",
]


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_malformed_endpoint_is_typed_and_shows_no_password(endpoint: str) -> None:
    environ = {
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_ENDPOINT_URL": endpoint,
    }
    with pytest.raises(StoreUnreachable, match="AWS_ENDPOINT_URL") as caught:
        open_store("s3://bucket/key", Credentials.MODEL, environ)
    assert PASSWORD not in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("region", ["eu west", "\x1b[2J", "a\r\nX-Header: b", "../..", "ü"])
def test_malformed_region_is_typed(region: str) -> None:
    environ = {
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_REGION": region,
    }
    with pytest.raises(StoreUnreachable, match="AWS_REGION") as caught:
        open_store("s3://bucket/key", Credentials.MODEL, environ)[0].size("key")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "uri",
    [
        f"s3://user:{PASSWORD}@bucket/key",
        f"https://user:{PASSWORD}@host/key",
        f"file://user:{PASSWORD}@host/key",
        "s3://[bucket",
        "s3://buck\x1b[2Jet/key",
        "s3://../key",
        "s3://bucket/../../key",
    ],
)
def test_malformed_uri_is_typed_and_shows_no_password(uri: str) -> None:
    environ = {
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    }

    def attempt() -> None:
        store, key = open_store(uri, Credentials.MODEL, environ)
        store.size(key)

    with pytest.raises(SpecError) as caught:
        attempt()
    assert PASSWORD not in str(caught.value)


def test_name_of_an_object_is_clean_in_messages() -> None:
    environ = {
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    }
    store, _ = open_store("s3://bucket", Credentials.MODEL, environ)
    with pytest.raises(StoreUnreachable) as caught:
        store.read("\x1b[2J\u202e\r\nmopt: forged\x9b")
    assert str(caught.value).isprintable()
    assert "\\x1b[2J\\u202e mopt: forged\\x9b" in str(caught.value)
