"""What every runtime offers: evaluation with named arrays, and a bound call for timing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

Feeds = Mapping[str, NDArray[Any]]
Outputs = dict[str, NDArray[Any]]
BoundCall = Callable[[], None]


class RuntimeFailure(Exception):
    """A runtime refuses the model or the inputs; says which runtime and its own words."""


class Runner(Protocol):
    """An opened model. A context manager: the runtime's resources are freed on exit.

    Attributes:
        compile_seconds: Spent so far on compiling after the model was opened.
    """

    compile_seconds: float

    def run(self, feeds: Feeds) -> Outputs:
        """Return the outputs in the model's order; arrays of the caller's own.

        Raises:
            RuntimeFailure: The runtime refuses the inputs or fails in computing.
        """
        ...

    def bind(self, feeds: Feeds) -> BoundCall:
        """Return a call that computes these inputs again and again, host to host.

        Inputs are taken from, and outputs left in, memory that was reserved here, so that a call
        does the arithmetic and nothing else. The feeds must outlive the call.

        Raises:
            RuntimeFailure: As run; also from the returned call.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


def first_line(error: BaseException) -> str:
    """Return an exception's first non-empty line, or its type where it has no text."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def select_feeds(names: list[str], feeds: Feeds, runtime: str) -> list[NDArray[Any]]:
    """Return the feeds in the model's order, contiguous.

    Raises:
        RuntimeFailure: The model has an input that is not fed, or none by that name.
    """
    if set(names) != set(feeds):
        raise RuntimeFailure(
            f"{runtime}: the model's inputs are {sorted(names)}, fed were {sorted(feeds)}"
        )
    return [np.ascontiguousarray(feeds[name]) for name in names]
