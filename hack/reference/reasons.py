"""docs/reference/reasons.md: what each reason of a condition means and what to do about it."""

from __future__ import annotations

from mopt_api.reasons import AWAIT_RUN, OUTDATED_REASONS, REASONS, ReasonInfo
from reference.markdown import GENERATED, prose, table

_INTRO = """
# Reasons

Why a ModelOptimization is not `Ready`, not `Published`, or `Outdated`: what happened, what to do,
and whether it is tried again without you. `mopt describe NAME` shows the conditions with their
messages, which name the field, file or node concerned;
[troubleshooting](../how-to/troubleshooting.md) says where to look next. The reasons of a resource
that is Ready or at work are in [the API](../api.md#conditions).

A Job's container ends with the exit code of its reason. Codes from 64 to 79 fail the Job at once,
those from 80 on are retried up to `execution.backoffLimit`.

## Of Ready and Published

"""

_OUTDATED = """
## Of Outdated

The results stand, but something that they depend on is another now. `Ready` is not affected. Of
several causes the condition's reason is the first in this order; its message has all of them.
"""


def reasons_reference() -> str:
    """Return the page."""
    parts = [GENERATED.format(source="crds/mopt_api/reasons.py"), _INTRO]
    parts.append(
        table(
            ("Reason", "Stalled", "Exit code"),
            (
                (f"[`{reason}`](#{reason.lower()})", _again(info), str(info.exit_code or ""))
                for reason, info in REASONS.items()
            ),
        )
    )
    for reason, info in REASONS.items():
        parts.append(_section(reason, info.cause, info.remedy, _again(info), info.exit_code))
    parts.append(_OUTDATED)
    for reason, outdated in OUTDATED_REASONS.items():
        awaited = f" Of an earlier run: {AWAIT_RUN}" if outdated.awaited else ""
        parts.append(_section(reason, outdated.cause, f"{outdated.remedy}{awaited}", None, None))
    return "".join(parts)


def _section(reason: str, cause: str, remedy: str, again: str | None, code: int | None) -> str:
    lines = [f"\n### {reason}\n", f"- **Cause:** {prose(cause)}.", f"- **Remedy:** {prose(remedy)}"]
    if again is not None:
        lines.append(f"- **Stalled:** {again}.")
    if code is not None:
        lines.append(f"- **Exit code:** {code}")
    return "\n".join(lines) + "\n"


def _again(info: ReasonInfo) -> str:
    """Return when a resource is Stalled for the reason."""
    if info.permanent:
        return "at once: only a change helps"
    if info.exit_code is None:
        return "after progressDeadlineSeconds; it goes on once the obstacle is gone"
    return "when the retries are used up"
