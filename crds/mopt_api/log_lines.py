"""The lines of a Job's log: one JSON object each, among what libraries print."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from pydantic import Field, ValidationError

from .base import ObservedModel


class LogLine(ObservedModel):
    """One thing that a Job says of its work; further figures are for other readers."""

    step: str = Field(description="What it works on.")
    message: str = Field(description="A sentence for people.")
    time: datetime | None = Field(default=None, description="When it was said.")
    variant: str | None = Field(default=None, description="The variant that it is about.")
    seconds: float | None = Field(
        default=None, allow_inf_nan=False, description="Time taken, where something ended."
    )
    repetition: int | None = Field(
        default=None, description="Of a measurement that others disturbed: how many went before."
    )


def parse_line(line: str | bytes) -> LogLine | None:
    """Return what a line of a log says; None where a library printed it."""
    try:
        return LogLine.model_validate_json(line)
    except ValidationError:
        return None


def log_line(values: Mapping[str, object]) -> LogLine | None:
    """Return what a process says of its work; None where the figures beside are of no use."""
    try:
        return LogLine.model_validate(values)
    except ValidationError:
        return None
