"""Errors of the operator.

OperatorError
├── SettingsError    the configuration file cannot be used; the process ends
├── ApiError         the API server answered with an error
│   ├── Conflict     409: the object changed meanwhile; read it again
│   ├── NotFound     404
│   ├── TooManyRequests  429: the API server has too much to do; a later retry may help
│   └── Refused      400, 403, 422: the API server rejected the object; only a change to it helps
└── Unreachable      the API server did not answer; a retry may help
"""

from __future__ import annotations


class OperatorError(Exception):
    """Base of all errors of the operator."""


class SettingsError(OperatorError):
    """The configuration cannot be used."""


class Unreachable(OperatorError):
    """The API server did not answer."""


class ApiError(OperatorError):
    """The API server answered with an error.

    Attributes:
        status: HTTP status.
        reason: Machine-readable reason (metav1.Status), such as AlreadyExists.
        message: As the API server worded it.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


class Conflict(ApiError):
    """The object exists already, or changed since it was read."""


class NotFound(ApiError):
    """The object does not exist."""


class Refused(ApiError):
    """The API server rejected the object."""


class TooManyRequests(ApiError):
    """The API server has too much to do."""


# Statuses with which the same object may be accepted later: quota or policy, and too much to do.
MAY_PASS = frozenset({403, 429})

_BY_STATUS: dict[int, type[ApiError]] = {
    400: Refused,
    403: Refused,
    404: NotFound,
    409: Conflict,
    422: Refused,
    429: TooManyRequests,
}


def api_error(status: int, reason: str, message: str) -> ApiError:
    """Return the error that fits an HTTP status."""
    return _BY_STATUS.get(status, ApiError)(status, reason, message)
