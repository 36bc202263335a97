"""Reads ModelOptimizations once: from a cluster, or from files of `kubectl get mopt -o json`."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mopt_api.text import one_line

from ._errors import CliError, Conflict, ExitCode, Forbidden, NoCluster, NotFound
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
        NotFound: There is none; the message has names that are nearly the same.
        CliError: As answered.
    """
    with answered():
        async with aclosing(cluster.resources(name)) as watch:
            listed = await anext(watch)
    if not listed:
        raise NotFound(await _missing(cluster, name))
    return listed[0]


async def _missing(cluster: Cluster, name: str) -> str:
    from .cluster import NoAnswer, Refused

    text = f"there is no ModelOptimization {name} in namespace {cluster.namespace}"
    near: list[str] = []
    # What may be asked for by name need not be listed.
    with suppress(Refused, NoAnswer):
        near = difflib.get_close_matches(name, await cluster.names())
    return f"{text}: did you mean {' or '.join(near)}?" if near else text


@contextmanager
def answered() -> Iterator[None]:
    """Turn what an API server refuses, and its silence, into one line.

    Raises:
        NotFound, Forbidden, Conflict, NoCluster, CliError: Each says what to do.
    """
    from .cluster import NoAnswer, Refused

    try:
        yield
    except Refused as error:
        said = one_line(f"the API server refuses the request: {error}")
        raise _refusal(error.status, said) from error
    except NoAnswer as error:
        raise NoCluster(f"the API server does not answer: {error}", ExitCode.FAILED) from error


def _refusal(status: int, message: str) -> CliError:
    if status == 404:
        return NotFound(
            "the cluster has no ModelOptimizations: mopt is not installed there", ExitCode.FAILED
        )
    if status in (401, 403):
        return Forbidden(
            f"{message}; ask for this right, or choose another --context or --namespace"
        )
    if status == 409:
        return Conflict(f"{message}; change it where its owner keeps it, such as in Git")
    return CliError(message, ExitCode.FAILED)


async def add_everywhere(access: Access, add: Callable[[Raw], None]) -> None:
    """Give every ModelOptimization of a cluster to add; where access names a namespace, of that.

    Raises:
        CliError: They cannot all be read.
    """
    from .cluster import connected

    async with connected(access) as cluster:
        with answered():
            async for page in cluster.pages(everywhere=access.namespace is None):
                for raw in page:
                    add(raw)
