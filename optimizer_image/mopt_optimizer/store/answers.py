"""What an S3 store's errors mean, and answers that are none of an S3 store."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from minio.error import MinioException, S3Error
from urllib3.exceptions import HTTPError

from mopt_api.text import one_line
from mopt_optimizer.errors import (
    ObjectNotFound,
    OptimizerError,
    SpecError,
    StoreAccessDenied,
    StoreUnreachable,
)

from .transport import QUOTED, NotS3, why_no_answer

_CODES: dict[str, type[OptimizerError]] = {
    "NoSuchKey": ObjectNotFound,
    "NoSuchBucket": ObjectNotFound,
    "NoSuchObject": ObjectNotFound,
    "AccessDenied": StoreAccessDenied,
    "AllAccessDisabled": StoreAccessDenied,
    "AuthorizationHeaderMalformed": StoreAccessDenied,
    "ExpiredToken": StoreAccessDenied,
    "InvalidAccessKeyId": StoreAccessDenied,
    "InvalidSecurity": StoreAccessDenied,
    "InvalidToken": StoreAccessDenied,
    "InvalidTokenId": StoreAccessDenied,
    "SignatureDoesNotMatch": StoreAccessDenied,
    "InvalidBucketName": SpecError,
    "KeyTooLongError": SpecError,
    "XMinioInvalidObjectName": SpecError,
}
"""S3 error codes by what the user must change; any other code is the store's own trouble."""
_CODE = re.compile(r"[A-Za-z0-9.]{1,64}")


_HINTS = {
    "AccessDenied": " (S3 also answers so for a missing object where the keys lack s3:ListBucket)"
}


@contextmanager
def reading_answers() -> Iterator[None]:
    """Turn what the client raises on an answer that it cannot read into NotS3."""
    try:
        yield
    except S3Error as error:
        if not _CODE.fullmatch(error.code or ""):
            raise NotS3(
                f"HTTP status {error.response.status} with no error code of S3's"
            ) from error
        raise
    except (
        MinioException,
        # Of its parsers: XML, dates, numbers, what an element lacks.
        SyntaxError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
    ) as error:
        raise NotS3("a length, date or body that is not S3's") from error


@contextmanager
def store_errors(where: str) -> Iterator[None]:
    """Turn the client's errors, beside those that reading_answers turns, into ours.

    Args:
        where: The object and its store.

    Raises:
        ObjectNotFound, StoreAccessDenied, StoreUnreachable, SpecError.
    """
    try:
        yield
    except S3Error as error:
        kind = _CODES.get(error.code or "", StoreUnreachable)
        said = one_line(error.message or "", QUOTED)
        raise kind(f"{where}: {error.code}: {said}{_HINTS.get(error.code or '', '')}") from error
    except NotS3 as error:
        raise StoreUnreachable(f"{where}: not an answer of an S3 store: {error}") from error
    except HTTPError as error:
        raise StoreUnreachable(f"{where}: no answer: {why_no_answer(error)}") from error
