"""A repository of an OCI registry: the edge."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import requests
from dxf.exceptions import DXFMountFailed

from mopt_api.jobs.publishing import REGISTRY_AUTH_FILE, REGISTRY_AUTH_VARIABLE
from mopt_optimizer.errors import RegistryRefused, RegistryUnreachable

from .archive import Sized
from .client import Client
from .credentials import login_for, read_config
from .manifests import INDEX, MANIFEST, Document, referrers_tag, with_referrer

_DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
_ACCEPTED = ", ".join((MANIFEST, INDEX, _DOCKER_MANIFEST, _DOCKER_INDEX))
_CA_FILE = "ca.crt"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass
class Counts:
    """What was sent.

    Attributes:
        blobs: Uploaded.
        mounted: Taken from another repository of the registry.
        bytes: Of the blobs and manifests that were uploaded.
    """

    blobs: int = 0
    mounted: int = 0
    manifests: int = 0
    bytes: int = 0


class Registry:
    """A repository. What is there already is not sent again.

    Attributes:
        repository: HOST[:PORT]/PATH.
        counts: What was sent so far.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self.repository = client.named
        self.counts = Counts()

    def has_blob(self, digest: str) -> bool:
        """Return whether the repository holds a blob.

        Raises:
            RegistryError.
        """
        return self._client.call("head", f"blobs/{digest}").status_code == HTTPStatus.OK

    def push_blob(self, digest: str, content: Sized) -> None:
        """Upload a blob, unless it is there; it is sent as a stream.

        Raises:
            RegistryError.
        """
        if self.has_blob(digest):
            return
        with self._client.errors():
            self._client.push_blob(data=_Body(content), digest=digest, check_exists=False)
        self.counts.blobs += 1
        self.counts.bytes += len(content)

    def copy_blob(self, source: Registry, digest: str, size: int) -> None:
        """Take a blob from another repository, unless it is there: without sending it where the
        registry is the same and allows that.

        Raises:
            RegistryError.
        """
        if self.has_blob(digest):
            return
        if _host(source.repository) == _host(self.repository) and self._mounted(source, digest):
            self.counts.mounted += 1
            return
        self.push_blob(digest, _Pulled(source, digest, size))

    def _mounted(self, source: Registry, digest: str) -> bool:
        with self._client.errors():
            try:
                self._client.mount_blob(source.repository.partition("/")[2], digest)
            except DXFMountFailed:  # An upload was begun instead.
                return False
            except requests.HTTPError as error:
                if error.response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
                    raise
                return False
        return True

    def chunks(self, digest: str) -> Iterator[bytes]:
        """Yield the bytes of a blob, checked by its digest at the end.

        Raises:
            RegistryError.
        """
        with self._client.errors():
            yield from self._client.blob(digest)

    def read(self, digest: str, most: int = 1 << 20) -> bytes:
        """Return a small blob.

        Raises:
            RegistryRefused: It is larger than that.
            RegistryError.
        """
        data = bytearray()
        for chunk in self.chunks(digest):
            data += chunk
            if len(data) > most:
                raise RegistryRefused(f"{self.repository}@{digest} has more than {most} bytes")
        return bytes(data)

    def digest(self, name: str) -> str | None:
        """Return the digest of the manifest under a tag or digest; None where there is none.

        Raises:
            RegistryError.
        """
        answer = self._client.call("head", f"manifests/{name}", headers={"Accept": _ACCEPTED})
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return None
        found = answer.headers.get("Docker-Content-Digest", "")
        if _DIGEST.fullmatch(found):
            return found
        # The specification lets registries leave it out.
        manifest = self.manifest(name)
        return None if manifest is None else manifest.digest

    def manifest(self, name: str) -> Document | None:
        """Return the manifest under a tag or digest; None where there is none.

        Raises:
            RegistryUnreachable: It is not the one of that digest.
            RegistryError.
        """
        answer = self._client.call("get", f"manifests/{name}", headers={"Accept": _ACCEPTED})
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return None
        kind = answer.headers.get("Content-Type", "").partition(";")[0].strip()
        found = Document(kind, answer.content)
        if _DIGEST.fullmatch(name) and found.digest != name:
            raise RegistryUnreachable(f"{self.repository}@{name}: the manifest is another one")
        return found

    def push_manifest(self, document: Document, tag: str | None = None) -> bool:
        """Upload a manifest under its digest or a tag, unless it is there.

        Returns:
            Whether it was uploaded.

        Raises:
            RegistryError.
        """
        if self.digest(tag or document.digest) == document.digest:
            return False
        self._put(document, tag or document.digest)
        return True

    def _put(self, document: Document, name: str) -> requests.Response:
        answer = self._client.call(
            "put",
            f"manifests/{name}",
            data=document.data,
            headers={"Content-Type": document.media_type},
        )
        if answer.headers.get("Docker-Content-Digest", document.digest) != document.digest:
            raise RegistryUnreachable(f"{self.repository}:{name}: the registry stored other bytes")
        self.counts.manifests += 1
        self.counts.bytes += len(document.data)
        return answer

    def push_referrer(self, subject: str, document: Document) -> None:
        """Upload a manifest that refers to another one, so that it is found from there.

        A registry without the API of referrers gets an index of them under a tag.

        Args:
            subject: Digest of what it refers to.

        Raises:
            RegistryError.
        """
        if self.digest(document.digest) != document.digest:
            answer = self._put(document, document.digest)
            if answer.headers.get("OCI-Subject") == subject:
                return
        elif self._lists_referrers(subject):
            return
        tag = referrers_tag(subject)
        known = self.manifest(tag)
        grown = with_referrer(None if known is None else known.data, document)
        if grown is not None:
            self._put(grown, tag)

    def _lists_referrers(self, subject: str) -> bool:
        return self._client.call("get", f"referrers/{subject}").status_code == HTTPStatus.OK

    def referrers(self, subject: str) -> bytes | None:
        """Return the index of what refers to a manifest; None where there is none.

        Raises:
            RegistryError.
        """
        answer = self._client.call("get", f"referrers/{subject}")
        if answer.status_code == HTTPStatus.OK:
            return answer.content
        known = self.manifest(referrers_tag(subject))
        return None if known is None else known.data


@contextmanager
def open_registry(
    repository: str, environ: Mapping[str, str], *, insecure: bool
) -> Iterator[Registry]:
    """Give a repository, with the credentials that are mounted for it. Opens no connection.

    Args:
        repository: HOST[:PORT]/PATH.
        environ: May name another file of credentials, and a proxy.

    Raises:
        RegistryAccessDenied: The file of credentials cannot be used.
        RegistryUnreachable: The certificates beside it cannot be used.
    """
    path = Path(environ.get(REGISTRY_AUTH_VARIABLE, REGISTRY_AUTH_FILE))
    login = login_for(read_config(path), repository)
    ca = path.with_name(_CA_FILE)
    ca_file = ca if ca.is_file() else None
    with Client(repository, login, environ, insecure=insecure, ca=ca_file) as client:
        yield Registry(client)


class _Body:
    """A request's body, of a length that is known: no registry is asked to take chunks."""

    def __init__(self, content: Sized) -> None:
        self._content = content

    def __len__(self) -> int:
        return len(self._content)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._content)


class _Pulled:
    """A blob of another repository."""

    def __init__(self, source: Registry, digest: str, size: int) -> None:
        self._source, self._digest, self._size = source, digest, size

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        return self._source.chunks(self._digest)


def _host(repository: str) -> str:
    return repository.partition("/")[0]
