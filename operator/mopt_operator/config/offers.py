"""OptimizationProfiles as the cluster has them, reduced to what decisions need. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mopt_api.profiles import VALID, OptimizationProfileSpec, read_profile
from mopt_operator.objects import Json, Raw, condition_of

LABEL_OPERATOR = "mopt.dev/operator"
"""On profiles that an operator applied: its Lease, NAMESPACE.NAME, in at most 63 characters."""


@dataclass(frozen=True, slots=True)
class Offer:
    """An OptimizationProfile.

    Attributes:
        profile: What it says; None where that cannot be used.
        fault: Why it cannot.
        owner: Value of the label mopt.dev/operator, of whoever applied it; empty for none.
        namespace: Always empty: it has none.
    """

    name: str
    uid: str
    version: str
    generation: int
    profile: OptimizationProfileSpec | None
    fault: str
    status: Json
    owner: str = ""
    deleting: bool = False
    namespace: str = ""

    @property
    def refusal(self) -> str:
        """Return why targets may not use it; empty where they may."""
        if self.fault or self.status.get("observedGeneration") != self.generation:
            return self.fault
        valid = condition_of(self.status, VALID)
        return valid.message if valid.status == "False" else ""


def observe_offer(raw: Raw) -> Offer:
    """Reduce an OptimizationProfile."""
    metadata, fault = raw["metadata"], ""
    labels = metadata.get("labels") or {}
    profile: OptimizationProfileSpec | None = None
    try:
        profile = read_profile(raw.get("spec") or {})
    except ValueError as error:
        fault = str(error)
    return Offer(
        name=metadata["name"],
        uid=metadata["uid"],
        version=metadata["resourceVersion"],
        generation=metadata.get("generation", 0),
        profile=profile,
        fault=fault,
        status=dict(raw.get("status") or {}),
        owner=labels.get(LABEL_OPERATOR, ""),
        deleting="deletionTimestamp" in metadata,
    )


def usable(offers: Iterable[Offer]) -> tuple[dict[str, OptimizationProfileSpec], dict[str, str]]:
    """Return the profiles that targets may use, and why they may not use the others."""
    profiles, refused = {}, {}
    for offer in offers:
        if refusal := offer.refusal:
            refused[offer.name] = refusal
        elif offer.profile is not None:
            profiles[offer.name] = offer.profile
    return profiles, refused


def withheld(profile: OptimizationProfileSpec, labels: Mapping[str, str] | None) -> bool:
    """Tell whether a profile is not for a namespace.

    Args:
        labels: The namespace's; None where they are not known.
    """
    selector = profile.namespace_selector
    return selector is not None and (labels is None or not selector.matches(labels))
