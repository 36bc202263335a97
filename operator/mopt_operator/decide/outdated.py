"""Whether results are of another optimizer than the present one. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from pydantic import ValidationError

from mopt_api.reasons import Reason
from mopt_api.spec import Target
from mopt_api.status import ConditionType, TargetStatus
from mopt_api.verification import VerificationState
from mopt_operator.config.settings import DEFAULT_PROFILE, Settings
from mopt_operator.objects import Raw, Resource
from mopt_operator.told import PRODUCT, Told, Versions

# What is broken is measured anew.
_AT_WORK = (VerificationState.RUNNING, VerificationState.BROKEN)


@dataclass(frozen=True)
class Optimizers:
    """The optimizer images that a resource's Jobs run now.

    Attributes:
        told: What images hold, as far as results have told.
    """

    resource: Resource
    settings: Settings
    told: Told = field(default_factory=Told)

    def target(self, name: str) -> Target | None:
        """Return a target as spec has it; None where that or its profile cannot be read."""
        try:
            target = Target.model_validate(self._entry(name) or {"name": name})
        except ValidationError:
            return None
        return target if (target.profile or DEFAULT_PROFILE) in self.settings.profiles else None

    def _entry(self, name: str) -> Raw | None:
        """Return a target's entry in spec, which need not be valid."""
        asked = self.resource.spec.get("targets")
        named = [t for t in asked if isinstance(t, dict)] if isinstance(asked, list) else []
        return next((entry for entry in named if entry.get("name") == name), None)

    def image_of(self, target: str) -> str:
        """Return the image that a target's Jobs run; the spec need not be valid."""
        entry = self._entry(target) or {}
        profile = self.settings.profiles.get(str(entry.get("profile") or DEFAULT_PROFILE))
        return self.settings.image_of(profile) if profile else self.settings.optimizer_image

    def differs_from(self, target: TargetStatus) -> bool:
        """Tell whether a target's result is of another optimizer than its Jobs run now.

        What the images hold decides where both are known: the same under another name is the same
        optimizer, and a name may have been given to another image. Otherwise their names do.
        """
        basis = target.basis
        if basis.optimizer is None:
            return False
        present = self._known(target)
        if present is None:
            return basis.optimizer != self.image_of(target.name)
        return _first_difference(basis.software, present) is not None

    def has_other_name_than(self, target: TargetStatus) -> bool:
        """Tell whether a target's result is of another optimizer, of another name too.

        Nothing but that is made again by itself: the nodes may hold different images of one name,
        and would take turns.
        """
        return target.basis.optimizer != self.image_of(target.name) and self.differs_from(target)

    def change_of(self, target: TargetStatus) -> Reason | None:
        """Return how the optimizer behind a target's result differs from the present one."""
        if not self.differs_from(target):
            return None
        present = self._known(target)
        if present is None or target.basis.software[PRODUCT] != present[PRODUCT]:
            return Reason.OLDER_OPTIMIZER
        return Reason.RUNTIME_CHANGED

    def maker_of(self, target: TargetStatus) -> str:
        """Return a target with the optimizer that made or verified its result, in words."""
        optimizer, software, *_ = target.basis
        made = f"{target.name} by {optimizer}"
        present = self._known(target)
        named = self.change_of(target) is Reason.RUNTIME_CHANGED
        if present is None or not (named or optimizer == self.image_of(target.name)):
            return made
        name = _first_difference(software, present)
        return f"{made} with {name} {software[name]}, now {present[name]}" if name else made

    def _known(self, target: TargetStatus) -> Versions | None:
        """Return what a target's image holds, where it can be compared with its result's."""
        basis, image = target.basis, self.image_of(target.name)
        if (seen := self.told.versions.get(image)) is None:
            return None
        # A new result of the image is decided on before it is seen in a status and learned from.
        newer = basis.optimizer == image and (basis.measured_at or "") > seen.time
        present = basis.software if newer else seen.value
        return present if PRODUCT in present and PRODUCT in basis.software else None


def is_rerunning(resource: Resource, settings: Settings) -> bool:
    """Tell whether results of another optimizer are being replaced, or verified.

    From the status as it is written: this is asked of every resource when an operator begins.
    """
    optimizers = Optimizers(resource, settings)
    works = any(
        condition["type"] == ConditionType.RECONCILING and condition["status"] == "True"
        for condition in resource.status.get("conditions") or ()
    )
    return works and any(
        target.get("fromEarlierRun")
        and (
            target.get("optimizer") != optimizers.image_of(str(target.get("name")))
            or (target.get("verification") or {}).get("state") in _AT_WORK
        )
        for target in resource.status.get("targets") or ()
    )


def _first_difference(made_with: Versions, present: Versions) -> str | None:
    """Return what both hold in different versions: mopt first, then by name.

    A result names only what its work can depend on.
    """
    both = sorted(made_with.keys() & present.keys(), key=lambda name: (name != PRODUCT, name))
    return next((name for name in both if made_with[name] != present[name]), None)
