"""What the results in all statuses tell of images, nodes and data, as far as it was seen. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Generic, NamedTuple, TypeVar

Versions = Mapping[str, str]
PRODUCT = "mopt"
"""Name of mopt itself among the versions: its own hold a digest of its files."""
DATA_PARTS = ("calibration", "evaluation", "references")
"""Sources of data, as status.targets[].data and measurement.parts name them."""

T = TypeVar("T")


class Seen(NamedTuple, Generic[T]):
    """What the newest result tells.

    Attributes:
        time: When that was measured, as status has it.
    """

    time: str
    value: T


class Cpu(NamedTuple):
    """A node's CPU.

    Attributes:
        features: Its instruction sets; empty where that is not known.
        named_by: The mopt that named them: another one may know others.
    """

    model: str
    features: frozenset[str]
    named_by: str


class DataAt(NamedTuple):
    """Data at one place, read in one way.

    Attributes:
        namespace: Of the resource: a Secret of the same name is another store elsewhere.
        source: Key of the place and what is done to the data; see Measurement.parts.
        read_by: The mopt that made the digest: another one may make it otherwise.
    """

    namespace: str
    source: str
    read_by: str


class Told(NamedTuple):
    """What results tell.

    Attributes:
        versions: What optimizer images hold, by image: a tag may be pushed again.
        cpus: By node.
        data: The digests of data.
    """

    versions: Mapping[str, Seen[Versions]] = MappingProxyType({})
    cpus: Mapping[str, Seen[Cpu]] = MappingProxyType({})
    data: Mapping[DataAt, Seen[str]] = MappingProxyType({})
