"""Which versions each optimizer image holds, as the results that it made tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mopt_operator.objects import Raw


class _Told(NamedTuple):
    """What one result tells of an image; the newest counts, and of equally new ones any."""

    time: str
    versions: dict[str, str]


class ImageVersions(Mapping[str, Mapping[str, str]]):
    """Versions of mopt and its libraries by optimizer image.

    They are those of the image's newest result, since a tag may be pushed again. Nothing is
    stored: after a restart the statuses of the resources tell it all again.

    Attributes:
        changes: How often something became known that was not before.
    """

    def __init__(self) -> None:
        self._told: dict[str, _Told] = {}
        self.changes = 0

    def learn(self, status: Raw) -> None:
        """Take what the results in a resource's status tell; what cannot be read tells nothing."""
        for image, told in _results(status):
            known = self._told.get(image)
            if known is None or (told.time, sorted(told.versions.items())) > (
                known.time,
                sorted(known.versions.items()),
            ):
                self._told[image] = told
                self.changes += known is None or known.versions != told.versions

    def __getitem__(self, image: str) -> Mapping[str, str]:
        return self._told[image].versions

    def __iter__(self) -> Iterator[str]:
        return iter(self._told)

    def __len__(self) -> int:
        return len(self._told)


def _results(status: Raw) -> Iterator[tuple[str, _Told]]:
    """Yield image, time and versions of each result that has all of them."""
    targets: Any = status.get("targets")
    for target in targets if isinstance(targets, list) else ():
        match target:
            case {
                "optimizer": str(image),
                "measuredAt": str(time),
                "software": dict(software),
            } if all(isinstance(version, str) for version in software.values()):
                yield image, _Told(time, software)
