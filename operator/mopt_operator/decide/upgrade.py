"""What is due for a settled target whose result is Outdated, by onUpgrade. Pure.

| Reason | Rerun | Verify |
|---|---|---|
| OlderOptimizer, RuntimeChanged, under another image name | full run | verified |
| the same under the same name: nodes may hold either | | |
| HardwareChanged | | verified, once for an image |
| ResourcesChanged | | verified |
| KnownBadVersion, DataChanged | with another image name, a full run | with that, a full run |
| ModelChanged, GatesChanged | a run is at work | a run is at work |

What has nothing to verify, or an engine, which is code for one version of TensorRT, is due for a
full run where another image name would have it verified, and else for nothing.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple

from mopt_api.artifacts import ArtifactFormat
from mopt_api.figures import VariantState
from mopt_api.jobs.measure_result import BASELINE
from mopt_api.reasons import Reason
from mopt_api.status import ModelOptimizationStatus, TargetStatus, VariantStatus
from mopt_api.verification import VerificationState
from mopt_operator.config.settings import UpgradePolicy

from .holding import form_of
from .outdated import Optimizers
from .stale import causes

MOST_FORMS = 3
# No short measurement says anything of these.
_WHOLE = frozenset({Reason.KNOWN_BAD_VERSION, Reason.DATA_CHANGED})


class Action(Enum):
    """What a target is due for."""

    VERIFY = auto()
    RERUN = auto()


class Due(NamedTuple):
    """What a target is due for, and by which reason of Outdated."""

    action: Action
    reason: Reason


def due(
    target: TargetStatus, optimizers: Optimizers, status: ModelOptimizationStatus
) -> Due | None:
    """Return what a target is due for; None for nothing.

    Args:
        target: As status has it. What a run has not replaced, it could not make again.
        status: As it is.
    """
    policy = optimizers.settings.on_upgrade.policy
    if policy is UpgradePolicy.KEEP or target.from_earlier_run:
        return None
    renamed = optimizers.has_other_name_than(target)
    change = optimizers.change_of(target) if renamed else None
    if policy is UpgradePolicy.RERUN:
        return Due(Action.RERUN, change) if change else None
    reasons = {cause.reason for cause in causes([target], optimizers, status)}
    if _WHOLE & reasons:
        return Due(Action.RERUN, change) if change else None
    verifiable = bool(forms_to_verify(target))
    if change is not None:
        return Due(Action.VERIFY if verifiable else Action.RERUN, change)
    found = next((reason for reason in _alone(target) if reason in reasons), None)
    return Due(Action.VERIFY, found) if found and verifiable else None


def _alone(target: TargetStatus) -> list[Reason]:
    """Return the reasons for which a target is verified where its image has the same name.

    Where containers on one node see its CPU differently, each verification would be news to the
    others: one for this reason is enough, until another image or run.
    """
    last = target.verification
    seen = last is not None and last.reason == Reason.HARDWARE_CHANGED
    return [Reason.RESOURCES_CHANGED, *([] if seen else [Reason.HARDWARE_CHANGED])]


def forms_to_verify(target: TargetStatus) -> list[str]:
    """Return the names of the best three variants that passed, the winner first.

    Returns:
        None of them where a short measurement would not tell: nothing is selected or served, no
        variant passed, or one of them is an engine.
    """
    chosen, served = target.winner, target.artifact
    if chosen is None or served is None or form_of(target, chosen.name, served.digest) != chosen:
        return []
    passed = [form for form in target.variants if form.state == VariantState.PASSED]
    passed.sort(key=lambda form: (form.name != chosen.name, -(form.speedup or 0.0)))
    best = passed[:MOST_FORMS]
    if not all(map(_is_file, best)) or chosen.name not in {BASELINE, *(f.name for f in best)}:
        return []
    return [form.name for form in best]


def _is_file(form: VariantStatus) -> bool:
    """Tell whether a form is what was prepared, and not code for one GPU and TensorRT."""
    return form.artifact is not None and form.artifact.format != ArtifactFormat.TENSORRT_ENGINE


def is_being_verified(target: TargetStatus) -> bool:
    """Tell whether a target is shown while it is verified."""
    return _state(target) == VerificationState.RUNNING and target.from_earlier_run is True


def is_broken(target: TargetStatus) -> bool:
    """Tell whether a target's result was found to hold no longer, so that none of it is used."""
    return _state(target) == VerificationState.BROKEN


def _state(target: TargetStatus) -> str | None:
    return target.verification.state if target.verification else None
