"""Calls that may end their process, made in another one: a runtime that crashes costs one row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

DIED = "its process died as it was opened and run"

Call = tuple[Callable[..., Any], tuple[Any, ...]]


def deaths(calls: Mapping[str, Call]) -> set[str]:
    """Return the names of the calls that ended their process; what they return or raise is lost.

    Args:
        calls: Functions that another process can import, with their arguments.
    """
    died: set[str] = set()
    waiting = list(calls.items())
    while waiting:
        # A fresh interpreter: a copy of this one would wait for threads that it does not have.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            while waiting:
                name, (function, arguments) = waiting.pop(0)
                error = pool.submit(function, *arguments).exception()
                if isinstance(error, BrokenProcessPool):
                    died.add(name)
                    break
    return died
