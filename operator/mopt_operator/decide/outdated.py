"""Whether results are of another optimizer, or of other data, than the present ones. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from mopt_api.reasons import Reason
from mopt_api.status import (
    Condition,
    ConditionType,
    ModelOptimizationStatus,
    TargetStatus,
)
from mopt_operator.config.settings import DEFAULT_PROFILE, Settings
from mopt_operator.objects import Resource

from .conditions import lasting

Versions = Mapping[str, str]
PRODUCT = "mopt"
"""Name of mopt itself among the versions: its own hold a digest of its files."""


@dataclass(frozen=True)
class Optimizers:
    """The optimizer images that a resource's Jobs run now.

    Attributes:
        versions: What images hold, as far as results have told; see ImageVersions.
    """

    resource: Resource
    settings: Settings
    versions: Mapping[str, Versions]

    def image_of(self, target: str) -> str:
        """Return the image that a target's Jobs run; the spec need not be valid."""
        asked = self.resource.spec.get("targets")
        named = [t for t in asked if isinstance(t, dict)] if isinstance(asked, list) else []
        names = {str(t.get("name")): str(t.get("profile") or DEFAULT_PROFILE) for t in named}
        profile = self.settings.profiles.get(names.get(target, DEFAULT_PROFILE))
        return self.settings.image_of(profile) if profile else self.settings.optimizer_image

    def differs_from(self, target: TargetStatus) -> bool:
        """Tell whether a target's result is of another optimizer than its Jobs run now.

        What the images hold decides where both are known: the same under another name is the same
        optimizer, and a name may have been given to another image. Otherwise their names do.
        """
        if target.optimizer is None:
            return False
        present = self._known(target)
        if present is None:
            return target.optimizer != self.image_of(target.name)
        return _first_difference(target.software, present) is not None

    def has_other_name_than(self, target: TargetStatus) -> bool:
        """Tell whether a target's result is of another optimizer, of another name too.

        Nothing but that is made again by itself: the nodes may hold different images of one name,
        and would take turns.
        """
        return target.optimizer != self.image_of(target.name) and self.differs_from(target)

    def maker_of(self, target: TargetStatus) -> str:
        """Return a target with the optimizer that made its result, in words."""
        made = f"{target.name} by {target.optimizer}"
        present = self._known(target)
        if present is None or target.optimizer != self.image_of(target.name):
            return made
        name = _first_difference(target.software, present)
        return f"{made} with {name} {target.software[name]}, now {present[name]}" if name else made

    def _known(self, target: TargetStatus) -> Versions | None:
        """Return what a target's image holds, where it can be compared with its result's."""
        present = self.versions.get(self.image_of(target.name))
        return present if present and PRODUCT in present and PRODUCT in target.software else None


def is_rerunning(resource: Resource, settings: Settings) -> bool:
    """Tell whether results of another optimizer are being replaced.

    From the status as it is written: this is asked of every resource when an operator begins.
    """
    optimizers = Optimizers(resource, settings, {})
    works = any(
        condition["type"] == ConditionType.RECONCILING and condition["status"] == "True"
        for condition in resource.status.get("conditions") or ()
    )
    return works and any(
        target.get("fromEarlierRun")
        and target.get("optimizer") != optimizers.image_of(str(target.get("name")))
        for target in resource.status.get("targets") or ()
    )


def _first_difference(made_with: Versions, present: Versions) -> str | None:
    """Return what both hold in different versions: mopt first, then by name.

    A result names only what its work can depend on.
    """
    both = sorted(made_with.keys() & present.keys(), key=lambda name: (name != PRODUCT, name))
    return next((name for name in both if made_with[name] != present[name]), None)


def with_outdated(
    conditions: Sequence[Condition],
    targets: Sequence[TargetStatus],
    optimizers: Optimizers,
    before: ModelOptimizationStatus,
    *,
    now: datetime,
) -> list[Condition]:
    """Return conditions with Outdated as it is now. Ready is not touched.

    Args:
        targets: Those that status is going to show; only results of the present run count.
        before: Status as it is: Outdated keeps its transition time while it holds.
    """
    others = [c for c in conditions if c.type != ConditionType.OUTDATED]
    present = [target for target in targets if not target.from_earlier_run]
    found = _other_optimizer(present, optimizers) or _other_data(present)
    if found is None:
        return others
    reason, message = found
    outdated = lasting(
        ConditionType.OUTDATED,
        reason,
        message=f"{message} Set the mopt.dev/requestedAt annotation to measure again.",
        previous=before.conditions,
        generation=optimizers.resource.generation,
        now=now,
    )
    return [*others, outdated]


def _other_optimizer(
    targets: Iterable[TargetStatus], optimizers: Optimizers
) -> tuple[Reason, str] | None:
    """Return why results are of another optimizer, if some are."""
    older = [target for target in targets if optimizers.differs_from(target)]
    if not older:
        return None
    made = "; ".join(map(optimizers.maker_of, older))
    present = ", ".join(dict.fromkeys(optimizers.image_of(t.name) for t in older))
    words = f"Measured by another optimizer than the present {present}: {made}."
    return Reason.OLDER_OPTIMIZER, words


def _other_data(targets: Sequence[TargetStatus]) -> tuple[Reason, str] | None:
    """Return why targets are not comparable, if the data changed from one to the next.

    Nobody but a Job looks at the data: its digests are in the result of each.
    """
    for name, digests in (
        ("data.calibration", {t.name: t.data and t.data.calibration for t in targets}),
        ("data.evaluation", {t.name: t.data and t.data.evaluation for t in targets}),
        ("data.evaluation.references", {t.name: t.data and t.data.references for t in targets}),
    ):
        known = {target: digest for target, digest in digests.items() if digest}
        if len({*known.values()}) > 1:
            seen = ", ".join(f"{target} {digest[:19]}" for target, digest in known.items())
            return Reason.DATA_CHANGED, f"{name} changed between measurements: {seen}."
    return None
