"""Errors between processes: an error keeps its class, and one of another library becomes
InternalError."""

from __future__ import annotations

import errno

from mopt_api.base import ObservedModel
from mopt_api.reasons import ErrorReport, Reason
from mopt_optimizer.errors import ModelError, OptimizerError, OutOfMemory

# A child has no network and no store: a model that took it over may name any other reason, also
# one for which the work would be tried again.
_OF_CHILDREN = frozenset(
    {
        *(Reason.INVALID_SPEC, Reason.INVALID_MODEL, Reason.UNSAFE_MODEL, Reason.INVALID_DIMENSION),
        *(Reason.INVALID_DATA, Reason.EXPORT_FAILED, Reason.BASELINE_FAILED, Reason.INTERNAL_ERROR),
        *(Reason.OUT_OF_DISK, Reason.OUT_OF_MEMORY, Reason.ACCELERATOR_NOT_FOUND),
        Reason.SANDBOX_UNAVAILABLE,
    }
)


class ChildError(ObservedModel):
    """An error in the answer of a child.

    Attributes:
        kind: Name of the class; for one that the parent does not know only the reason counts.
    """

    kind: str
    report: ErrorReport


def report_of(error: BaseException) -> ErrorReport:
    """Return the report of an error for the user; one of another library is InternalError.

    Whatever a model, a store or a library put into its message is clean in it, see ErrorReport.
    """
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        reason, message = Reason.OUT_OF_DISK, f"no space left on the scratch volume: {error}"
    elif isinstance(error, MemoryError):
        reason, message = Reason.OUT_OF_MEMORY, f"not enough memory: {error}"
    elif isinstance(error, OptimizerError):
        reason, message = error.reason, str(error)
    else:
        reason, message = Reason.INTERNAL_ERROR, f"{type(error).__name__}: {error}"
    return ErrorReport(reason=reason, message=message)


def child_error(error: BaseException) -> ChildError:
    """Return an error as a child answers with it."""
    kind = OutOfMemory if isinstance(error, MemoryError) else type(error)
    return ChildError(kind=kind.__name__, report=report_of(error))


def typed_error(error: ChildError) -> OptimizerError:
    """Return the error that a child answered with, of its class.

    One of a class that is not known here is of the first class that carries its reason; of a
    reason that no child can have, it is a ModelError.
    """
    message, reason = error.report.message, error.report.reason
    if reason not in _OF_CHILDREN:
        return ModelError(f"the process that opened the model answered {reason}: {message}")
    kinds = _subclasses(OptimizerError)
    for kind in kinds:
        if kind.__name__ == error.kind and kind.reason is reason:
            return kind(message)
    for kind in kinds:
        if kind.reason is reason and "reason" in vars(kind):
            return kind(message)
    return OptimizerError(message)


def _subclasses(kind: type[OptimizerError]) -> list[type[OptimizerError]]:
    return [kind, *(c for direct in kind.__subclasses__() for c in _subclasses(direct))]
