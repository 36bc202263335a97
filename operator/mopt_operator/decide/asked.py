"""What a resource asks for, and the work that takes, read once for all looks at it. Pure.

A resource is looked at a dozen times from its creation to Ready, while its spec stays as it is; to
read it, and to make and name its Jobs, was most of the cost of each look.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import orjson

from mopt_operator.config.settings import Settings
from mopt_operator.objects import Resource

from .catalog import Catalog
from .request import Request, read_request

# About 100 KiB each.
MAX_KNOWN = 128


@dataclass(frozen=True)
class Asked:
    """A valid resource's request, and its work items."""

    request: Request
    catalog: Catalog


class _Known:
    """The requests that were read last; of one Settings object at a time."""

    def __init__(self) -> None:
        self._settings: Settings | None = None
        self._found: OrderedDict[tuple[object, ...], Asked] = OrderedDict()

    def get(self, key: tuple[object, ...], settings: Settings) -> Asked | None:
        if settings is not self._settings:
            self._settings = settings
            self._found.clear()
        found = self._found.get(key)
        if found is not None:
            self._found.move_to_end(key)
        return found

    def put(self, key: tuple[object, ...], found: Asked) -> None:
        self._found[key] = found
        if len(self._found) > MAX_KNOWN:
            self._found.popitem(last=False)


_known = _Known()


def read_asked(resource: Resource, settings: Settings) -> Asked:
    """Return what a resource asks for, with its work items.

    Raises:
        InvalidRequest: See read_request.
    """
    # All that the request and the names of its Jobs depend on: two that agree in it are the same.
    key = (
        resource.uid,
        resource.namespace,
        resource.name,
        resource.requested_at,
        orjson.dumps(resource.spec, option=orjson.OPT_SORT_KEYS),
    )
    if (known := _known.get(key, settings)) is not None:
        return known
    request = read_request(resource, settings)
    found = Asked(request, Catalog(request, resource, settings))
    _known.put(key, found)
    return found
