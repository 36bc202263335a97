"""What a child writes to its parent, one line each; nothing of it is believed before it is read."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator

from mopt_api.base import ObservedModel

from .reports import ChildError

_Name = Annotated[str, Field(max_length=64)]
Figure = Annotated[str, Field(max_length=4096)] | int | float | bool | None


class LogLine(ObservedModel):
    """Progress."""

    step: _Name
    message: str = Field(max_length=4096)
    fields: dict[_Name, Figure] = Field(default={}, max_length=16)

    @field_validator("fields")
    @classmethod
    def _only_figures(cls, value: dict[str, Figure]) -> dict[str, Figure]:
        return {name: v for name, v in value.items() if name not in ("step", "message")}


class Reply(ObservedModel):
    """One line; exactly one field is set."""

    log: LogLine | None = None
    answer: dict[str, Any] | None = None
    error: ChildError | None = None
