"""How a command ends: one line on standard error, and an exit status."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from mopt_api.reasons import ErrorReport, Reason


class ExitCode(IntEnum):
    """Exit statuses of every command."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NO_WINNER = 3
    INTERRUPTED = 130


class CliError(Exception):
    """Ends a command. The message is one line: what was wrong, where, and what to do.

    CliError
        NoCluster: no kubeconfig names an API server, or it does not answer
        NotFound: the cluster has no such resource, or knows none of its kind
        Forbidden: the user may not do this
        Conflict: somebody else owns a field that was to be changed
        TimedOut: what was waited for did not come
        selections.NothingSelected: there is no result yet, or it selects nothing
    """

    usual_code = ExitCode.USAGE

    def __init__(self, message: str, code: ExitCode | None = None) -> None:
        self.code = type(self).usual_code if code is None else code
        super().__init__(message)


class NoCluster(CliError):
    """No API server can be asked."""


class NotFound(CliError):
    """The cluster has no such resource, or knows none of its kind."""


class Forbidden(CliError):
    """The user may not do this; another context, or more rights, help."""

    usual_code = ExitCode.FAILED


class Conflict(CliError):
    """Somebody else owns a field that was to be changed."""

    usual_code = ExitCode.FAILED


class TimedOut(CliError):
    """What was waited for did not come; the work goes on, and it may be waited for again."""

    usual_code = ExitCode.FAILED


# Where the remedy in mopt_api.reasons is about the cluster.
_LOCAL_REMEDIES = {
    Reason.INVALID_MODEL: "Give a complete file in the right format.",
    Reason.DIGEST_MISMATCH: "Set spec.model.sha256 to that of the intended file.",
    Reason.OBJECT_NOT_FOUND: "Correct its uri, or name local files with --model, --calibration, "
    "--evaluation.",
    Reason.STORE_ACCESS_DENIED: "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use local "
    "files: --model, --calibration, --evaluation, --output.",
    Reason.STORE_UNREACHABLE: "Check AWS_ENDPOINT_URL, or use local files: --model, "
    "--calibration, --evaluation, --output.",
    Reason.OUT_OF_DISK: "Make room, or name a larger disk with --workdir.",
    Reason.OUT_OF_MEMORY: "Free memory on this machine, or lower spec.dimensions.",
    Reason.INTERNAL_ERROR: "This is a bug in mopt: report it with the output of --verbose.",
}
# Where a command reads or sweeps a store, and runs nothing.
_STORE_REMEDIES = {
    Reason.DIGEST_MISMATCH: "Set the annotation mopt.dev/requestedAt anew: the file is made again.",
    Reason.OBJECT_NOT_FOUND: "Correct its uri; what was removed from the store is made again by a "
    "new mopt.dev/requestedAt.",
    Reason.STORE_ACCESS_DENIED: "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to keys that may "
    "do this, and AWS_ENDPOINT_URL where the store is not AWS.",
    Reason.STORE_UNREACHABLE: "Check AWS_ENDPOINT_URL, and try again.",
    Reason.OUT_OF_DISK: "Make room, or name a folder on a larger disk with -o.",
    Reason.INTERNAL_ERROR: "This is a bug in mopt: report it.",
}
_USER_SPEC = (Reason.INVALID_SPEC, Reason.INVALID_DIMENSION)
_NO_WINNER = (Reason.NO_VARIANT_PASSED, Reason.BASELINE_REJECTED, Reason.CONSTRAINTS_MISSED)


def exit_code_of(reason: str) -> ExitCode:
    """Return the exit status of work that ended for a reason, which may be unknown here."""
    if reason in _NO_WINNER:
        return ExitCode.NO_WINNER
    return ExitCode.USAGE if reason in _USER_SPEC else ExitCode.FAILED


def work_failed(report: ErrorReport) -> CliError:
    """Return the error for work that failed with a reason: status 2 for a wrong spec, else 1."""
    return _failed(report, _LOCAL_REMEDIES)


def store_failed(report: ErrorReport) -> CliError:
    """Return the error of a command that only reads or sweeps a store; status as work_failed."""
    return _failed(report, _STORE_REMEDIES)


def _failed(report: ErrorReport, remedies: Mapping[Reason, str]) -> CliError:
    remedy = remedies.get(report.reason)
    said = report.sentence() if remedy is None else f"{report.message.rstrip('.')}. {remedy}"
    return CliError(f"{report.reason}: {said}", exit_code_of(report.reason))
