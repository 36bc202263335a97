"""Which stores of a resource are read without keys."""

from __future__ import annotations

from mopt_api.enums import StoreCredentials
from mopt_api.spec import ModelOptimizationSpec

from .plan import Credentials

CREDENTIALS_KEY = "CREDENTIALS"
"""Behind a role's prefix: the StoreCredentials that take the place of a Secret's keys."""


def anonymous_roles(spec: ModelOptimizationSpec) -> tuple[Credentials, ...]:
    """Return the roles whose stores are read without keys."""
    sources = {
        Credentials.MODEL: spec.model,
        Credentials.CALIBRATION: spec.data.calibration,
        Credentials.EVALUATION: spec.data.evaluation,
    }
    return tuple(
        role
        for role, source in sources.items()
        if source is not None and source.credentials is StoreCredentials.ANONYMOUS
    )
