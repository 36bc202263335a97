"""Whether a target's result still holds where something beside its spec changed."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, NamedTuple

from pydantic import Field

from .base import Digest, ObservedModel
from .figures import Hardware


class VerificationState(StrEnum):
    """How a verification stands."""

    RUNNING = "Running"
    HELD = "Held"
    BROKEN = "Broken"


class Basis(NamedTuple):
    """What a result holds for.

    Attributes:
        optimizer: Image that measured or verified it.
        limits: CPU and memory limit of its Job; None where not known.
        measured_at: When, by the node's clock.
    """

    optimizer: str | None
    software: Mapping[str, str]
    hardware: Hardware
    limits: Mapping[str, str] | None
    measured_at: str | None


class Verification(ObservedModel):
    """A short measurement of what was selected and its runners-up, on the files that were there.

    While it runs, all but state, reason and message is of the verification before.
    """

    state: str = Field(
        max_length=16,
        description="Running; Held: the result holds with what is here, so it is not Outdated; or "
        "Broken: everything is measured again.",
    )
    reason: str = Field(max_length=64, description="Reason of Outdated that it was made for.")
    message: str | None = Field(default=None, max_length=1024, description="What was found.")
    optimizer: str | None = Field(
        default=None, max_length=512, description="Optimizer image that verified."
    )
    software: dict[str, Annotated[str, Field(max_length=64)]] = Field(
        default={}, max_length=64, description="Versions of its runtimes."
    )
    hardware: Hardware | None = Field(default=None, description="Hardware that it ran on.")
    limits: dict[str, str] | None = Field(
        default=None, description="CPU and memory limit of its Job."
    )
    measured_at: str | None = Field(
        default=None,
        max_length=32,
        description="When it was measured, by its node's clock.",
        json_schema_extra={"format": "date-time"},
    )
    result: Digest | None = Field(
        default=None, description="Digest of its own result.json in the output store."
    )

    @property
    def basis(self) -> Basis | None:
        """What it found the result to hold for; None where it did not, or has not yet."""
        if self.state != VerificationState.HELD or self.hardware is None:
            return None
        return Basis(self.optimizer, self.software, self.hardware, self.limits, self.measured_at)
