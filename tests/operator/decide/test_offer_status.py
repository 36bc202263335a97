"""What the status of a profile says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mopt_api.profiles import OptimizationProfileSpec, ProfileReason
from mopt_operator.config.offers import Offer
from mopt_operator.decide.offer_status import ACCEPTED, Trial, offer_status

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
GPU = {"resources": {"limits": {"nvidia.com/gpu": 1}}}
TAKEN = Trial(ProfileReason.JOBS_ACCEPTED, ACCEPTED)


def offer(**spec: object) -> Offer:
    profile = OptimizationProfileSpec.model_validate(spec)
    return Offer("l4", "uid", "7", 3, profile, "", {"observedGeneration": -1})


def written(of: Offer, trial: Trial, nodes: int | None) -> Offer:
    """Return a profile once its status has been written."""
    status = offer_status(of, trial, nodes, NOW)
    assert status is not None
    return replace(of, status=status)


def valid(status: dict[str, Any] | None) -> dict[str, Any]:
    assert status is not None
    (condition,) = [c for c in status["conditions"] if c["type"] == "Valid"]
    return dict(condition)


def test_whole_status_and_nothing_twice() -> None:
    status = offer_status(offer(**GPU), TAKEN, 4, NOW)
    assert status == {
        "observedGeneration": 3,
        "kind": "GPU",
        "nodes": 4,
        "conditions": [
            {
                "type": "Valid",
                "status": "True",
                "reason": "JobsAccepted",
                "message": ACCEPTED,
                "observedGeneration": 3,
                "lastTransitionTime": "2026-11-01T12:00:00Z",
            }
        ],
    }
    later = NOW + timedelta(hours=1)
    assert offer_status(replace(offer(**GPU), status=status), TAKEN, 4, later) is None


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (ProfileReason.JOBS_ACCEPTED, "True"),
        (ProfileReason.NOT_TRIED, "True"),
        (ProfileReason.JOBS_REFUSED, "False"),
        (ProfileReason.INVALID_FIELD, "False"),
    ],
)
def test_reason_decides(reason: ProfileReason, status: str) -> None:
    said = valid(offer_status(offer(), Trial(reason, "because"), 0, NOW))
    assert (said["status"], said["reason"], said["message"]) == (status, reason, "because")


def test_what_cannot_be_read_has_neither_kind_nor_nodes() -> None:
    wrong = replace(offer(), profile=None, fault="spec.tolerations.0: wrong")
    status = offer_status(wrong, Trial(ProfileReason.INVALID_FIELD, wrong.fault), 4, NOW)
    assert status is not None
    assert not {"kind", "nodes"} & set(status)
    assert valid(status)["message"] == "spec.tolerations.0: wrong"


def test_nodes_that_may_not_be_listed_are_not_counted_as_none() -> None:
    before = written(offer(), TAKEN, 4)
    status = offer_status(before, TAKEN, None, NOW)
    assert status is not None
    assert "nodes" not in status


def test_transition_is_when_it_became_valid() -> None:
    before = written(offer(), TAKEN, 4)
    later = NOW + timedelta(hours=1)
    more = offer_status(before, TAKEN, 5, later)
    assert valid(more)["lastTransitionTime"] == "2026-11-01T12:00:00Z"
    refused = offer_status(before, Trial(ProfileReason.JOBS_REFUSED, "no"), 4, later)
    assert valid(refused)["lastTransitionTime"] == "2026-11-01T13:00:00Z"


def test_conditions_of_others_stay() -> None:
    other = {
        "type": "example.com/Budgeted",
        "status": "True",
        "reason": "Approved",
        "message": "",
        "lastTransitionTime": "2026-11-01T12:00:00Z",
    }
    before = replace(offer(), status={"observedGeneration": -1, "conditions": [other]})
    status = offer_status(before, TAKEN, 1, NOW)
    assert status is not None
    assert other in status["conditions"]
