"""Reads ModelOptimizations once: from a cluster, or from files of `kubectl get mopt -o json`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ._errors import CliError, ExitCode
from .access import Access
from .extras import require_cluster
from .resources import load_all
from .selections import name_of

if TYPE_CHECKING:
    from .cluster import Cluster, Raw


def resource_of(command: str, name: str | None, file: Path | None, access: Access) -> Raw:
    """Return the resource that a command is about.

    Args:
        name: Its name; may be omitted where a file has one resource only.
        file: Where it is read from, in place of a cluster.

    Raises:
        CliError: It is not there, or cannot be read.
    """
    if file is not None:
        return _in_file(file, name)
    if name is None:
        raise CliError("give the NAME of a ModelOptimization, or a file of one with -f")
    require_cluster(command)
    return asyncio.run(_in_cluster(name, access))


def _in_file(file: Path, name: str | None) -> Raw:
    found = [raw for raw in load_all(file) if name in (None, name_of(raw))]
    if len(found) == 1:
        return found[0]
    what = f"ModelOptimization {name}" if name else "ModelOptimization"
    if not found:
        raise CliError(f"{file} holds no {what}")
    raise CliError(f"{file} holds {len(found)} of {what}: name one")


async def _in_cluster(name: str, access: Access) -> Raw:
    from .cluster import connected

    async with connected(access) as cluster:
        return await first(cluster, name)


async def first(cluster: Cluster, name: str) -> Raw:
    """Return a resource as it is now.

    Raises:
        CliError: There is none, or it cannot be read.
    """
    with answered():
        async with aclosing(cluster.resources(name)) as watch:
            listed = await anext(watch)
    if not listed:
        where = f"namespace {cluster.namespace}"
        raise CliError(f"there is no ModelOptimization {name} in {where}")
    return listed[0]


@contextmanager
def answered() -> Iterator[None]:
    """Turn what an API server refuses, and its silence, into one line."""
    from .cluster import NoAnswer, Refused

    try:
        yield
    except Refused as error:
        if error.status == 404:
            message = "the cluster has no ModelOptimizations: mopt is not installed there"
        else:
            message = f"the API server refuses the request: {error}"
        raise CliError(message, ExitCode.FAILED) from error
    except NoAnswer as error:
        raise CliError(f"the API server does not answer: {error}", ExitCode.FAILED) from error


async def add_everywhere(access: Access, add: Callable[[Raw], None]) -> None:
    """Give every ModelOptimization of a cluster to add.

    Raises:
        CliError: They cannot all be read.
    """
    from .cluster import connected

    async with connected(access) as cluster:
        with answered():
            async for page in cluster.everywhere():
                for raw in page:
                    add(raw)
