"""What is asked of the process that serves a model to LoadGen, and its answers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from mopt_api.base import ObservedModel
from mopt_optimizer.runtimes.base import Opening

from .outcome import Outcome
from .rules import Rules


class OpenInstances(ObservedModel):
    """Open instances of the model; what comes first.

    Attributes:
        opening: Its threads are those of each instance.
        samples: Files of each sample's inputs, by name.
        batched: Axis along which samples of an input are joined; an input that is not here is the
            same for all.
        sizes: Of the batches that are computed, rising; the first is 1.
    """

    op: Literal["open"] = "open"
    opening: Opening
    instances: int
    samples: list[dict[str, str]]
    batched: dict[str, int]
    sizes: list[int]


class RunTest(ObservedModel):
    """Let LoadGen test them."""

    op: Literal["test"] = "test"
    rules: Rules


LoadRequest = OpenInstances | RunTest
LOAD_REQUEST: TypeAdapter[LoadRequest] = TypeAdapter(
    Annotated[LoadRequest, Field(discriminator="op")]
)


class InstancesOpened(ObservedModel):
    """They have computed every size of batch.

    Attributes:
        rate: Samples a second that one of them would compute, by its last call of the largest.
    """

    rate: float = Field(gt=0, allow_inf_nan=False)


class Tested(ObservedModel):
    """The outcome of a test."""

    outcome: Outcome
