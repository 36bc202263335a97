"""What a client of the Open Inference Protocol gives, whatever carries it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mopt_api.text import one_line
from mopt_optimizer.errors import EndpointError
from mopt_optimizer.serving.datatypes import DATATYPES

Array = NDArray[Any]
Feeds = Mapping[str, Array]

MOST_BYTES = 2**30
"""Of an answer."""


@dataclass(frozen=True)
class Tensor:
    """An input or output as the server's metadata has it; -1 is a size that varies."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Metadata:
    """What a server says of a model."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True)
class Times:
    """What a server says that it spent on a request, in microseconds."""

    queue: int
    compute: int


@dataclass(frozen=True)
class Answer:
    """Outputs by name, and what the server says of its time; None where it says nothing."""

    outputs: Mapping[str, Array]
    times: Times | None


Ask = Callable[[], Answer]


class Client(Protocol):
    """Asks a server. Every call raises EndpointError where it does not answer as it should."""

    where: str

    def models(self) -> Sequence[str]:
        """Return the names of its models; empty where it does not tell."""
        ...

    def metadata(self, model: str) -> Metadata:
        """Return a model's inputs and outputs."""
        ...

    def asking(self, model: str, feeds: Feeds) -> Ask:
        """Return what asks for a model's outputs; the request is made once."""
        ...

    def close(self) -> None:
        """End its connections."""
        ...


def datatype_of(array: Array) -> str:
    """Return the protocol's name of an array's type.

    Raises:
        EndpointError: It has none.
    """
    if array.dtype.name not in DATATYPES:
        raise EndpointError(f"the protocol has no name for {array.dtype.name}")
    return DATATYPES[array.dtype.name]


def array_of(name: str, datatype: object, shape: Sequence[int], content: object) -> Array:
    """Return an output.

    Args:
        content: Its bytes, or a list of numbers.

    Raises:
        EndpointError: They do not make an array of that type and shape.
    """
    known = {theirs: ours for ours, theirs in DATATYPES.items()}
    shown = one_line(str(name), 60)
    if not isinstance(datatype, str) or datatype not in known:
        raise EndpointError(f"output {shown} is {datatype!s:.20}, which cannot be compared")
    dtype = np.dtype(known[datatype])
    values = math.prod(shape)
    try:
        if isinstance(content, (bytes, memoryview)):
            found: Array = np.frombuffer(content, dtype)
        else:
            found = np.array(content, dtype).reshape(-1)
        if min(shape, default=0) < 0 or found.size != values:
            raise EndpointError(f"output {shown} has {found.size} values, its shape {values}")
        return found.reshape(shape)
    except (ValueError, TypeError, OverflowError) as error:
        raise EndpointError(
            f"output {shown} is no array of {datatype} and shape {list(shape)!s:.80}"
        ) from error
