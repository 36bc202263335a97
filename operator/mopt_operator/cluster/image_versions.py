"""Which versions each optimizer image holds, as the results that it made tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .newest import Newest


def _order(versions: Mapping[str, str]) -> tuple[object, ...]:
    return tuple(sorted(versions.items()))


class ImageVersions(Mapping[str, Mapping[str, str]]):
    """Versions of mopt and its libraries by optimizer image.

    They are those of the image's newest result, since a tag may be pushed again. Nothing is
    stored: after a restart the statuses of the resources tell it all again.
    """

    def __init__(self) -> None:
        self._told: Newest[str, Mapping[str, str]] = Newest(_order)

    @property
    def changes(self) -> int:
        """How often something became known that was not before: results of other images are
        compared with one's very first."""
        return self._told.changes + len(self._told)

    def learn(self, image: str, time: str, versions: Mapping[str, str]) -> None:
        """Take what a result of an image tells."""
        self._told.learn(image, time, versions)

    def __getitem__(self, image: str) -> Mapping[str, str]:
        return self._told[image].value

    def __iter__(self) -> Iterator[str]:
        return iter(self._told)

    def __len__(self) -> int:
        return len(self._told)
