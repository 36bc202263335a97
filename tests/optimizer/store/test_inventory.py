"""What lies in a store, and its removal: a folder, and a real MinIO."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from minio.credentials.providers import StaticProvider
from minio.minioadmin import MinioAdmin

from mopt_api.jobs.plan import Credentials
from mopt_optimizer.errors import (
    ObjectNotFound,
    SpecError,
    StoreAccessDenied,
    StoreUnreachable,
)
from mopt_optimizer.store.inventory import digests_in, open_inventory
from mopt_optimizer.store.registry import open_store

if TYPE_CHECKING:
    from ..conftest import MinioServer

# The machine may be busy.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
A, B = (hashlib.sha256(text).hexdigest() for text in (b"a", b"b"))


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, dict[str, str]]:
    """Where objects lie, and who may read them."""
    if request.param == "folder":
        return (tmp_path / "out").as_uri(), {}
    minio: MinioServer = request.getfixturevalue("minio")
    return f"s3://{minio.bucket()}/", minio.environ()


def test_objects_are_listed_with_size_and_time_and_removed(
    place: tuple[str, dict[str, str]],
) -> None:
    uri, environ = place
    store = open_store(uri, Credentials.OUTPUT, environ)[0]
    inventory = open_inventory(uri, Credentials.OUTPUT, environ)[0]
    for key in ("a/1", "a/b/2", "ab/3", "c"):
        store.put_bytes(key, key.encode())
    found = {one.key: one for one in inventory.objects("a/")}
    assert {key: one.size for key, one in found.items()} == {"a/1": 3, "a/b/2": 5}
    age = datetime.now(UTC) - found["a/1"].modified
    assert timedelta(minutes=-1) < age < timedelta(minutes=5)
    assert list(inventory.objects("none/")) == []
    inventory.remove(["a/1", "gone"])
    inventory.remove([])
    assert store.list("") == ["a/b/2", "ab/3", "c"]


def test_digests_are_read_of_documents_alone_where_that_is_asked(
    place: tuple[str, dict[str, str]],
) -> None:
    uri, environ = place
    store = open_store(uri, Credentials.OUTPUT, environ)[0]
    inventory = open_inventory(uri, Credentials.OUTPUT, environ)[0]
    document = b' \n{"digest": "sha256:%s", "uri": "s3://x/%s"}' % (A.encode(), B.encode())
    store.put_bytes("document", document + b" " * 3 * 2**20)
    store.put_bytes("index", f"sha256:{A}".encode())
    store.put_bytes("model", b"\x08" + document + b"0" * 3 * 2**20)
    store.put_bytes("empty", b"")
    assert inventory.digests("document", documents=True) == {A, B}
    assert inventory.digests("index") == {A}
    assert inventory.digests("index", documents=True) == frozenset()
    assert inventory.digests("model", documents=True) == frozenset()
    assert inventory.digests("empty", documents=True) == frozenset()
    assert inventory.digests("gone") == frozenset()


@UNHURRIED
@given(
    st.lists(
        st.sampled_from([A, B, A[:10], " ", '"', "{", "f", "g", "sha256:", A + "0"]), max_size=12
    ),
    st.integers(1, 70),
)
def test_where_a_text_is_cut_does_not_matter(parts: list[str], size: int) -> None:
    text = "".join(parts).encode()
    chunks = [text[start : start + size] for start in range(0, len(text), size)]
    assert digests_in(chunks, documents=False) == digests_in([text], documents=False)
    assert digests_in(chunks, documents=True) == digests_in([text], documents=True)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (A, {A}),
        (f"sha256:{A},{B}", {A, B}),
        (f"{A}0", set()),
        (f"{A}{B}", set()),
        (A.upper(), set()),
        (f"x{A}y", {A}),
    ],
)
def test_only_whole_digests_count(text: str, found: set[str]) -> None:
    assert digests_in([text.encode()], documents=False) == found


def test_more_than_a_page_is_listed_and_removed(minio: MinioServer) -> None:
    """S3 lists and removes a thousand objects by one request."""
    uri, environ = f"s3://{minio.bucket()}/out", minio.environ()
    store = open_store(uri, Credentials.OUTPUT, environ)[0]
    inventory, prefix = open_inventory(uri, Credentials.OUTPUT, environ)
    keys = [f"{prefix}/{number:04}" for number in range(1005)]
    for key in keys:
        store.put_bytes(key, b"")
    assert sorted(one.key for one in inventory.objects(f"{prefix}/")) == keys
    inventory.remove(keys)
    assert store.list("") == []


def test_keys_that_may_only_read_are_told(minio: MinioServer) -> None:
    uri = f"s3://{minio.bucket()}"
    open_store(uri, Credentials.OUTPUT, minio.environ())[0].put_bytes("x", b"")
    host = minio.endpoint.removeprefix("http://")
    root = StaticProvider(minio.access_key, minio.secret_key)
    admin = MinioAdmin(endpoint=host, credentials=root, secure=False)
    admin.user_add("reader", "reader-secret")
    admin.attach_policy(["readonly"], user="reader")
    environ = minio.environ() | {
        "MOPT_OUTPUT_AWS_ACCESS_KEY_ID": "reader",
        "MOPT_OUTPUT_AWS_SECRET_ACCESS_KEY": "reader-secret",
    }
    inventory = open_inventory(uri, Credentials.OUTPUT, environ)[0]
    with pytest.raises(StoreAccessDenied, match=r"/x at http\S+ is not removed: AccessDenied"):
        inventory.remove(["x"])


def test_a_store_that_cannot_be_listed_is_told(minio: MinioServer) -> None:
    missing = open_inventory("s3://no-such-bucket/", Credentials.OUTPUT, minio.environ())[0]
    with pytest.raises(ObjectNotFound, match="NoSuchBucket"):
        list(missing.objects(""))
    environ = minio.environ() | {"MOPT_OUTPUT_AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    silent = open_inventory("s3://bucket/", Credentials.OUTPUT, environ)[0]
    for ask in (
        lambda: list(silent.objects("")),
        lambda: silent.digests("x"),
        lambda: silent.remove(["x"]),
    ):
        with pytest.raises(StoreUnreachable):
            ask()
    for uri in ("ftp://x/y", "s3:///x"):
        with pytest.raises(SpecError):
            open_inventory(uri, Credentials.OUTPUT, minio.environ())


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    inventory = open_inventory((tmp_path / "none").as_uri(), Credentials.OUTPUT, {})[0]
    assert list(inventory.objects("blobs/")) == []
