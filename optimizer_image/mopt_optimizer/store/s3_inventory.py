"""What lies in a bucket, and its removal, through the MinIO client."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from urllib.parse import SplitResult

from minio.deleteobjects import DeleteError, DeleteObject
from minio.error import S3Error
from urllib3.exceptions import HTTPError

from mopt_api.jobs.plan import Credentials
from mopt_api.text import one_line
from mopt_optimizer.errors import StoreAccessDenied, StoreUnreachable

from .access import Access, access
from .answers import reading_answers, store_errors
from .client import client_of, tls_context
from .identity import provider_of
from .inventory import Found, Inventory, digests_in
from .transport import QUOTED, NotS3
from .writing import CHUNK_BYTES

_ANSWER_SECONDS = 60.0
_BATCH = 1000
"""Objects that S3 removes by one request."""
_ATTEMPTS = 3
_DENIED = ("AccessDenied", "AllAccessDisabled")
_GONE = ("NoSuchKey", "NoSuchObject")


def open_uri(
    uri: SplitResult, credentials: Credentials, environ: Mapping[str, str]
) -> tuple[Inventory, str] | None:
    """See inventory.OpenInventory."""
    if not uri.netloc:
        return None
    return S3Inventory(uri.netloc, access(credentials, environ)), uri.path.lstrip("/")


class S3Inventory:
    """Implements Inventory on one bucket."""

    def __init__(self, bucket: str, granted: Access) -> None:
        self._bucket = bucket
        self._endpoint = granted.endpoint
        context = tls_context(granted)
        keys = provider_of(granted.keys, context)
        self._client = client_of(granted, keys, context, _ANSWER_SECONDS)

    def _errors(self, key: str) -> AbstractContextManager[None]:
        return store_errors(f"s3://{self._bucket}/{one_line(key)} at {self._endpoint}")

    def objects(self, prefix: str) -> Iterator[Found]:
        """See Inventory. Pages of a thousand are asked for as they are used."""
        with self._errors(prefix), reading_answers():
            for item in self._client.list_objects(self._bucket, prefix=prefix, recursive=True):
                key = item.object_name or ""
                if not key.startswith(prefix):
                    raise NotS3("an object outside of the folder that was asked for")
                if item.last_modified is None:
                    raise NotS3("an object without its time")
                yield Found(key, item.size or 0, item.last_modified)

    def digests(self, key: str, *, documents: bool = False) -> frozenset[str]:
        with self._errors(key):
            for attempt in range(_ATTEMPTS):
                try:
                    return self._digests(key, documents=documents)
                except HTTPError:
                    if attempt == _ATTEMPTS - 1:
                        raise
        raise AssertionError("unreachable")

    def _digests(self, key: str, *, documents: bool) -> frozenset[str]:
        try:
            with reading_answers():
                response = self._client.get_object(self._bucket, key)
        except S3Error as error:
            if error.code in _GONE:
                return frozenset()
            raise
        try:
            expected = int(response.headers.get("Content-Length", -1))
            read = 0

            def counted() -> Iterator[bytes]:
                nonlocal read
                for chunk in response.stream(CHUNK_BYTES):
                    read += len(chunk)
                    yield chunk
                if read != expected:
                    raise HTTPError("the object broke off")

            return digests_in(counted(), documents=documents)
        finally:
            # What is no document is not read to its end: its connection is of no further use.
            response.close()
            response.release_conn()

    def remove(self, keys: Collection[str]) -> None:
        wanted = list(keys)
        for start in range(0, len(wanted), _BATCH):
            batch = wanted[start : start + _BATCH]
            with self._errors(batch[0]):
                failed = self._remove(batch)
            if failed:
                raise self._refusal(failed[0])

    def _remove(self, batch: list[str]) -> list[DeleteError]:
        """Return the objects of a batch that stay, each with the store's reason."""
        for attempt in range(_ATTEMPTS):
            try:
                with reading_answers():
                    wanted = [DeleteObject(key) for key in batch]
                    answers = list(self._client.remove_objects(self._bucket, wanted))
            except HTTPError:  # Removing twice is as good as once.
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                return [error for error in answers if error.code not in _GONE]
        raise AssertionError("unreachable")

    def _refusal(self, error: DeleteError) -> StoreAccessDenied | StoreUnreachable:
        kind = StoreAccessDenied if error.code in _DENIED else StoreUnreachable
        code, said = (one_line(text or "", QUOTED) for text in (error.code, error.message))
        return kind(
            f"s3://{self._bucket}/{one_line(error.name or '')} at {self._endpoint} is not removed: "
            f"{code}: {said}"
        )
