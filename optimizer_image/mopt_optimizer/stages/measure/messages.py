"""What the measure stage asks a variant's process, and what that answers. Arrays are .npy files."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from mopt_api.base import Count, ObservedModel
from mopt_api.jobs.limits import ExecutedLayers, Work
from mopt_optimizer.runtimes.base import Opening


class Open(ObservedModel):
    """Open the model; what comes first."""

    op: Literal["open"] = "open"
    opening: Opening


class Evaluate(ObservedModel):
    """Compute one sample.

    Attributes:
        feeds: A file for each input.
    """

    op: Literal["evaluate"] = "evaluate"
    feeds: dict[str, str]


class Bind(ObservedModel):
    """Load a point's inputs and reserve memory for its outputs."""

    op: Literal["bind"] = "bind"
    point: str
    feeds: dict[str, str]


class Turn(ObservedModel):
    """Time a bound point: at least so many seconds and calls."""

    op: Literal["turn"] = "turn"
    point: str
    seconds: float
    calls: int


class Release(ObservedModel):
    """Free what Bind reserved."""

    op: Literal["release"] = "release"
    point: str


class Usage(ObservedModel):
    """Tell what was used so far."""

    op: Literal["usage"] = "usage"


class Explain(ObservedModel):
    """Tell what a call has to do at least, and what is really executed; what comes last.

    Attributes:
        points: Shape of each input at each point.
        feeds: A file for each input at the first point.
    """

    op: Literal["explain"] = "explain"
    points: dict[str, dict[str, list[int]]]
    feeds: dict[str, str]


Request = Open | Evaluate | Bind | Turn | Release | Usage | Explain
REQUEST: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="op")])


class Done(ObservedModel):
    """It is done, and there is nothing to tell."""


class Opened(ObservedModel):
    """The model is open.

    Attributes:
        engine: File in the process's folder of what was built, to be served in place of the
            model's; None where nothing was.
    """

    engine: str | None = None


class Evaluated(ObservedModel):
    """A file in the process's folder and a name for each output, in the model's order."""

    outputs: list[str]
    names: list[str] = []


class Timed(ObservedModel):
    """Nanoseconds of each counted call."""

    times_ns: list[Annotated[int, Field(gt=0)]]


class Used(ObservedModel):
    """What the process used so far.

    Attributes:
        peak_bytes: Its largest resident set; on a GPU its part of the device's memory, None where
            the driver does not tell.
        compile_seconds: What calls spent on compiling.
    """

    peak_bytes: Count | None = None
    compile_seconds: float = Field(default=0.0, ge=0, allow_inf_nan=False)


class Explained(ObservedModel):
    """What a call has to do, and what is executed.

    Attributes:
        work: By point; points where it cannot be told are missing.
        executed: None where the runtime does not tell.
    """

    work: dict[str, Work] = Field(default={}, max_length=64)
    executed: ExecutedLayers | None = None
