"""The order in which functions can be counted: each after those that it calls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from mopt_optimizer.errors import ModelError

Function = TypeVar("Function")


def callees_first(
    callees: Mapping[Function, Iterable[tuple[Function, bool]]],
) -> Iterator[Function]:
    """Yield functions so that each comes after those that it calls.

    Without recursion: a model may have chains of any length.

    Args:
        callees: What each calls, and whether for certain; all of it is among the keys.

    Raises:
        ModelError: One calls itself for certain.
    """
    done: set[Function] = set()
    running: dict[Function, Iterator[tuple[Function, bool]]] = {}
    for first in callees:
        stack = [first] if first not in done else []
        while stack:
            name = stack[-1]
            if name not in running:
                running[name] = iter(callees[name])
            for callee, certain in running[name]:
                if callee in running and callee not in done and certain:
                    raise ModelError(f"the function {callee} calls itself")
                if callee not in running:
                    stack.append(callee)
                    break
            else:
                stack.pop()
                done.add(name)
                yield name
