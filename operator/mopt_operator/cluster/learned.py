"""What the statuses of all resources tell of images, nodes and data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mopt_operator.objects import Raw
from mopt_operator.told import DATA_PARTS, PRODUCT, Cpu, DataAt, Told, Versions

from .newest import Newest


class Learned:
    """Learns from each status that is seen. Nothing is stored: after a restart the statuses of
    the resources tell it all again."""

    def __init__(self) -> None:
        self._versions: Newest[str, Versions] = Newest(lambda held: tuple(sorted(held.items())))
        self._cpus: Newest[str, Cpu] = Newest(lambda cpu: (cpu.model, sorted(cpu.features)))
        self._data: Newest[DataAt, str] = Newest(lambda digest: (digest,))
        self.told = Told(self._versions, self._cpus, self._data)

    @property
    def changes(self) -> int:
        """How often something was learned that another resource's result may differ from."""
        # The first that is told of a node or of data is told by the only one that knows it. Of an
        # image it is news too: results of other images are compared with it.
        versions = self._versions.changes + len(self._versions)
        return versions + self._cpus.changes + self._data.changes

    def learn(self, status: Raw, namespace: str) -> None:
        """Take what the results in a resource's status tell; what cannot be read tells nothing."""
        targets: Any = status.get("targets")
        for target in targets if isinstance(targets, list) else ():
            match target:
                case {"measuredAt": str(time)}:
                    self._learn(target, time, namespace)
            match target:
                # Its data are those of the result, or that would not have held.
                case {"verification": {"state": "Held", "measuredAt": str(time)} as verified}:
                    self._learn({**target, **verified}, time, namespace)

    def _learn(self, target: Mapping[str, Any], time: str, namespace: str) -> None:
        made_by = ""
        match target.get("software"), target.get("optimizer"):
            case dict(versions), image if _are_texts(versions.values()):
                made_by = versions.get(PRODUCT, "")
                if isinstance(image, str):
                    self._versions.learn(image, time, versions)
        match target:
            case {"hardware": {"node": str(node), "cpu": str(model)} as hardware}:
                self._cpus.learn(node, time, Cpu(model, _features(hardware), made_by))
        for source, digest in _data(target):
            self._data.learn(DataAt(namespace, source, made_by), time, digest)


def _are_texts(values: Any) -> bool:
    return all(isinstance(value, str) for value in values)


def _features(hardware: Mapping[str, Any]) -> frozenset[str]:
    features = hardware.get("cpuFeatures")
    if not isinstance(features, list) or not _are_texts(features):
        return frozenset()
    return frozenset(features)


def _data(target: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the key of the place and the digest of each source of data."""
    match target:
        case {"data": dict(digests), "measurement": {"parts": dict(sources)}}:
            for part in DATA_PARTS:
                match sources.get(part), digests.get(part):
                    case str(source), str(digest):
                        yield source, digest
