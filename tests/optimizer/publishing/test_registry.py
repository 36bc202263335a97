"""The registry's edge, against the distribution project's registry."""

from __future__ import annotations

import base64
import json
import operator
import subprocess
import traceback
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from free_ports import free_address
from registry import (
    PASSWORD,
    Registry,
    login_of,
    running_referrers,
    running_registry,
)
from token_server import TokenServer, token_server
from web_server import tunnels

from mopt_api.jobs.publishing import REGISTRY_AUTH_VARIABLE
from mopt_optimizer.digests import json_bytes
from mopt_optimizer.errors import (
    RegistryAccessDenied,
    RegistryError,
    RegistryRefused,
    RegistryUnreachable,
)
from mopt_optimizer.publishing import registry as edge
from mopt_optimizer.publishing.archive import Given, digest_of
from mopt_optimizer.publishing.manifests import (
    EMPTY,
    LAYER,
    Descriptor,
    Document,
    referrer,
    referrers_tag,
)

DATA = Given(b"weights" * 100_000)
DIGEST = digest_of(DATA)

Open = Callable[..., AbstractContextManager[edge.Registry]]


@pytest.fixture
def nowhere(tmp_path: Path) -> dict[str, str]:
    return {REGISTRY_AUTH_VARIABLE: str(tmp_path / "none" / "config.json")}


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Registry]:
    with running_registry(tmp_path / "registry", tls=True, login=True) as running:
        yield running


def manifest_of(*layers: Descriptor) -> Document:
    document = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": EMPTY.descriptor.as_json(),
        "layers": [layer.as_json() for layer in layers],
        "artifactType": "application/vnd.test",
    }
    return Document("application/vnd.oci.image.manifest.v1+json", json_bytes(document))


def push(opened: edge.Registry) -> Document:
    """Push a blob and a manifest that names it."""
    opened.push_blob(DIGEST, DATA)
    opened.push_blob(EMPTY.digest, Given(EMPTY.data))
    document = manifest_of(Descriptor(LAYER, DIGEST, len(DATA)))
    opened.push_manifest(document)
    return document


def test_what_is_pushed_is_read_back_by_crane(registry: Registry, nowhere: dict[str, str]) -> None:
    repository = registry.repository("a/b-c/d")
    with edge.open_registry(repository, nowhere, insecure=True) as opened:
        document = push(opened)
        opened.push_manifest(document, "latest")
        assert opened.counts == edge.Counts(2, 0, 2, len(DATA) + 2 + 2 * len(document.data))
    assert registry.crane("manifest", f"{repository}:latest") == document.data
    assert registry.crane("digest", f"{repository}:latest").decode().strip() == document.digest
    assert registry.crane("blob", f"{repository}@{DIGEST}") == DATA.data


def test_a_registry_is_reached_through_the_proxy(secured: Registry, tmp_path: Path) -> None:
    config = secured.write_auth(tmp_path / "auth" / "config.json")
    with tunnels() as proxy:
        environ = {REGISTRY_AUTH_VARIABLE: str(config), "HTTPS_PROXY": proxy.address}
        with edge.open_registry(secured.repository(), environ, insecure=False) as opened:
            push(opened)
        assert set(proxy.asked) == {secured.address}
        before = len(proxy.asked)
        around = environ | {"NO_PROXY": "127.0.0.1"}
        with edge.open_registry(secured.repository(), around, insecure=False) as opened:
            assert opened.has_blob(DIGEST)
        assert len(proxy.asked) == before


def test_what_is_there_is_not_pushed_again(registry: Registry, nowhere: dict[str, str]) -> None:
    with edge.open_registry(registry.repository(), nowhere, insecure=True) as opened:
        document = push(opened)
        opened.push_manifest(document, "v1")
    before = registry.uploads()
    with edge.open_registry(registry.repository(), nowhere, insecure=True) as opened:
        push(opened)
        assert not opened.push_manifest(document, "v1")
        assert opened.counts == edge.Counts()
    assert registry.uploads() == before


def test_a_blob_is_mounted_from_another_repository(
    registry: Registry, nowhere: dict[str, str]
) -> None:
    with edge.open_registry(registry.repository("base"), nowhere, insecure=True) as base:
        push(base)
        with edge.open_registry(registry.repository("model"), nowhere, insecure=True) as opened:
            opened.copy_blob(base, DIGEST, len(DATA))
            assert opened.counts == edge.Counts(mounted=1)
            assert opened.has_blob(DIGEST)


def test_a_blob_is_copied_from_another_registry(
    registry: Registry, nowhere: dict[str, str], tmp_path: Path
) -> None:
    with (
        running_registry(tmp_path / "other") as other,
        edge.open_registry(other.repository("base"), nowhere, insecure=True) as base,
        edge.open_registry(registry.repository("model"), nowhere, insecure=True) as opened,
    ):
        push(base)
        opened.copy_blob(base, DIGEST, len(DATA))
        assert (opened.counts.blobs, opened.counts.bytes) == (1, len(DATA))
    assert registry.crane("blob", f"{registry.repository('model')}@{DIGEST}") == DATA.data


def test_a_manifest_that_names_a_missing_blob_is_refused(
    registry: Registry, nowhere: dict[str, str]
) -> None:
    with (
        edge.open_registry(registry.repository(), nowhere, insecure=True) as opened,
        pytest.raises(RegistryRefused, match=r"HTTP status 40\d MANIFEST_"),
    ):
        opened.push_manifest(manifest_of(Descriptor(LAYER, DIGEST, len(DATA))))


def _attach_two(opened: edge.Registry) -> tuple[Document, list[Document]]:
    """Push a manifest and two that refer to it; return it, and these."""
    subject = push(opened)
    made = []
    for number in range(2):
        content = Given(f"statement {number}".encode())
        layer = Descriptor("text/plain", digest_of(content), len(content))
        opened.push_blob(layer.digest, content)
        made.append(referrer(subject.descriptor, layer, f"test/{number}", {"n": str(number)}))
        opened.push_referrer(subject.digest, made[-1])
    return subject, made


def test_a_referrer_is_found_from_its_subject(registry: Registry, nowhere: dict[str, str]) -> None:
    """This registry has no API of referrers: they are found by a tag."""
    with edge.open_registry(registry.repository(), nowhere, insecure=True) as opened:
        subject, made = _attach_two(opened)
        found = json.loads(opened.referrers(subject.digest) or b"")["manifests"]
        before = registry.uploads()
        for document in made:
            opened.push_referrer(subject.digest, document)
    assert [(each["digest"], each["artifactType"], each["annotations"]) for each in found] == [
        (document.digest, f"test/{n}", {"n": str(n)}) for n, document in enumerate(made)
    ]
    assert registry.uploads() == before
    tagged = registry.manifest(f"{registry.repository()}:{referrers_tag(subject.digest)}")
    assert tagged["manifests"] == found


def test_the_api_of_referrers_is_asked_where_there_is_one(nowhere: dict[str, str]) -> None:
    """This one has it, and does not say so when it takes a referrer: the tag is set as well."""
    with (
        running_referrers() as address,
        edge.open_registry(f"{address}/models/test", nowhere, insecure=True) as opened,
    ):
        subject, made = _attach_two(opened)
        found, sent = opened.referrers(subject.digest), opened.counts.manifests
        for document in made:
            opened.push_referrer(subject.digest, document)
        assert opened.counts.manifests == sent
        url = f"http://{address}/v2/models/test/referrers/{subject.digest}"
        with urllib.request.urlopen(url) as answer:
            listed = json.load(answer)
    by_digest = operator.itemgetter("digest")  # this registry lists in no order
    assert sorted(json.loads(found or b"")["manifests"], key=by_digest) == sorted(
        listed["manifests"], key=by_digest
    )
    assert {each["digest"] for each in listed["manifests"]} == {each.digest for each in made}


def test_a_login_is_taken_from_the_file_and_the_authority_from_beside_it(
    secured: Registry, tmp_path: Path
) -> None:
    auth = secured.write_auth(tmp_path / "auth" / "config.json")
    environ = {REGISTRY_AUTH_VARIABLE: str(auth)}
    with edge.open_registry(secured.repository(), environ, insecure=False) as opened:
        document = push(opened)
        assert opened.digest(document.digest) == document.digest


@pytest.fixture
def with_tokens(tmp_path: Path) -> Iterator[tuple[Registry, TokenServer]]:
    """A registry that takes the tokens of a service."""
    folder = tmp_path / "registry"
    folder.mkdir()
    registry = Registry(folder, free_address(), tls=True)
    with token_server(registry.pki(), login_of()) as tokens:
        registry.realm = tokens.realm
        registry.start()
        yield registry, tokens
        registry.stop()


def _in_order(scope: str) -> str:
    """Return a scope with its actions in order: the registry names them in none."""
    resource, _, actions = scope.rpartition(":")
    return f"{resource}:{','.join(sorted(actions.split(',')))}"


def test_a_token_is_asked_for_what_is_to_be_done(
    with_tokens: tuple[Registry, TokenServer], tmp_path: Path
) -> None:
    """One for reading does not do for writing, nor one for a repository for another one."""
    registry, tokens = with_tokens
    environ = {REGISTRY_AUTH_VARIABLE: str(registry.write_auth(tmp_path / "auth" / "config.json"))}
    with edge.open_registry(registry.repository("base"), environ, insecure=False) as base:
        document = push(base)
        with edge.open_registry(registry.repository("model"), environ, insecure=False) as opened:
            opened.copy_blob(base, DIGEST, len(DATA))
            assert opened.counts == edge.Counts(mounted=1)
        assert base.digest(document.digest) == document.digest
    asked = [_in_order(scope) for scope in tokens.scopes[:2]]
    assert asked == ["repository:base:pull", "repository:base:pull,push"]


def test_a_token_service_that_knows_nobody(
    with_tokens: tuple[Registry, TokenServer], tmp_path: Path
) -> None:
    registry, _ = with_tokens
    auth = registry.write_auth(tmp_path / "auth" / "config.json", password="wrong-password")
    environ = {REGISTRY_AUTH_VARIABLE: str(auth)}
    with (
        edge.open_registry(registry.repository(), environ, insecure=False) as opened,
        pytest.raises(RegistryAccessDenied, match="rejects the credentials: HTTP status 401"),
    ):
        push(opened)


def test_a_wrong_password_is_denied_and_never_shown(secured: Registry, tmp_path: Path) -> None:
    auth = secured.write_auth(tmp_path / "auth" / "config.json", password="wrong-password")
    environ = {REGISTRY_AUTH_VARIABLE: str(auth)}
    with (
        edge.open_registry(secured.repository(), environ, insecure=False) as opened,
        pytest.raises(RegistryAccessDenied) as raised,
    ):
        push(opened)
    assert f"{secured.repository()}: the registry rejects the credentials" in str(raised.value)
    assert str(raised.value).endswith("HTTP status 401")
    shown = "".join(traceback.format_exception(raised.value))
    for secret in ("wrong-password", base64.b64encode(b"test:wrong-password").decode()):
        assert secret not in shown


def test_a_registry_that_asks_for_a_login_that_is_not_given(
    secured: Registry, tmp_path: Path
) -> None:
    auth = tmp_path / "auth" / "config.json"
    auth.parent.mkdir()
    auth.with_name("ca.crt").write_bytes(secured.ca.read_bytes())
    with (
        edge.open_registry(
            secured.repository(), {REGISTRY_AUTH_VARIABLE: str(auth)}, insecure=False
        ) as opened,
        pytest.raises(
            RegistryAccessDenied, match=r"asks for credentials: HTTP status 401.*names none for it"
        ),
    ):
        push(opened)


def test_credentials_are_not_sent_without_tls(tmp_path: Path) -> None:
    with running_registry(tmp_path / "registry", login=True) as running:
        auth = running.write_auth(tmp_path / "auth" / "config.json")
        environ = {REGISTRY_AUTH_VARIABLE: str(auth)}
        with (
            edge.open_registry(running.repository(), environ, insecure=True) as opened,
            pytest.raises(RegistryAccessDenied, match="not sent over HTTP without TLS"),
        ):
            push(opened)
        assert PASSWORD not in running.log.read_text()


def test_a_certificate_that_nobody_vouches_for(secured: Registry, nowhere: dict[str, str]) -> None:
    with (
        edge.open_registry(secured.repository(), nowhere, insecure=False) as opened,
        pytest.raises(RegistryUnreachable, match=r"CERTIFICATE_VERIFY_FAILED"),
    ):
        push(opened)


def test_a_registry_that_is_down(nowhere: dict[str, str]) -> None:
    repository = f"{free_address()}/models/test"
    with (
        edge.open_registry(repository, nowhere, insecure=True) as opened,
        pytest.raises(RegistryUnreachable, match=rf"{repository}: no answer: .*refused"),
    ):
        push(opened)


def test_a_registry_that_is_read_only(registry: Registry, nowhere: dict[str, str]) -> None:
    registry.restart(read_only=True)
    with (
        edge.open_registry(registry.repository(), nowhere, insecure=True) as opened,
        pytest.raises(RegistryRefused, match="takes no uploads: HTTP status 405"),
    ):
        push(opened)


@pytest.fixture
def full(registry: Registry) -> Iterator[Registry]:
    """A registry with 256 KiB of storage."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(registry.storage)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs needs root")
    registry.restart()
    yield registry
    subprocess.run(["umount", "--lazy", str(registry.storage)], check=True)


def test_a_registry_that_is_full(full: Registry, nowhere: dict[str, str]) -> None:
    with (
        edge.open_registry(full.repository(), nowhere, insecure=True) as opened,
        pytest.raises(RegistryRefused, match="has no room: HTTP status 500"),
    ):
        push(opened)


def test_an_s3_store_is_no_registry(minio: object, nowhere: dict[str, str]) -> None:
    endpoint = str(getattr(minio, "endpoint", "")).removeprefix("http://")
    with (
        edge.open_registry(f"{endpoint}/models/test", nowhere, insecure=True) as opened,
        pytest.raises(RegistryError) as raised,
    ):
        push(opened)
    assert "<" not in str(raised.value)
