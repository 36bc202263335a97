"""The status of an OptimizationProfile. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from mopt_api.profiles import VALID, OptimizationProfileStatus, ProfileReason
from mopt_api.status import Condition
from mopt_api.text import one_line
from mopt_operator.config.offers import Offer
from mopt_operator.objects import Json
from mopt_operator.times import timestamp

MAX_MESSAGE = 2048
ACCEPTED = "The API server accepts its Jobs"


class Trial(NamedTuple):
    """What the API server said of a Job of a profile's in a dry run."""

    reason: ProfileReason
    message: str


def offer_status(offer: Offer, trial: Trial, nodes: int | None, now: datetime) -> Json | None:
    """Return the whole status; None where the profile has it already.

    Args:
        trial: Of this generation.
        nodes: How many fit; None where that is not known.
    """
    status = OptimizationProfileStatus(
        observed_generation=offer.generation,
        kind=offer.profile.kind if offer.profile else None,
        nodes=nodes if offer.profile else None,
        conditions=[_valid(offer, trial, now), *_others(offer)],
    ).to_api()
    return None if status == offer.status else status


def _valid(offer: Offer, trial: Trial, now: datetime) -> Condition:
    status = "False" if trial.reason in ProfileReason.of_the_invalid() else "True"
    before = next(
        (
            said
            for said in offer.status.get("conditions") or ()
            if said.get("type") == VALID and said.get("status") == status
        ),
        None,
    )
    return Condition(
        type=VALID,
        status=status,
        reason=trial.reason,
        message=one_line(trial.message, MAX_MESSAGE),
        observed_generation=offer.generation,
        last_transition_time=before["lastTransitionTime"] if before else timestamp(now),
    )


def _others(offer: Offer) -> list[Condition]:
    """Return the conditions that others have written."""
    return [
        Condition.model_validate(said)
        for said in offer.status.get("conditions") or ()
        if said.get("type") != VALID
    ]
