"""Images by their names: in a registry, or in an OCI image layout."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mopt_api.publishing import REPOSITORY_PATTERN, TAG_PATTERN

from ._errors import CliError

if TYPE_CHECKING:
    from mopt_optimizer.proofs.reading import Repository

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LAYOUT = "oci:"


@dataclass(frozen=True)
class ImageName:
    """A reference, in its parts.

    Attributes:
        place: HOST[:PORT]/PATH, or the folder of a layout.
        name: Tag or digest.
    """

    place: str
    name: str
    is_layout: bool = False

    @classmethod
    def parse(cls, text: str) -> ImageName:
        """Read a reference; without a tag and digest it names the tag latest.

        Raises:
            CliError: It is none.
        """
        is_layout = text.startswith(_LAYOUT)
        place, at, digest = text.removeprefix(_LAYOUT).partition("@")
        head, colon, tag = place.rpartition(":")
        tagged = bool(colon) and "/" not in tag
        name = digest if at else tag if tagged else "latest"
        place = head if tagged else place
        if at and not _DIGEST.fullmatch(digest):
            raise CliError(f"{text}: what follows @ is no digest, sha256:HEX")
        if not at and not re.fullmatch(TAG_PATTERN, name):
            raise CliError(f"{text}: {name!r} is no tag")
        if not place or not (is_layout or re.fullmatch(REPOSITORY_PATTERN, place)):
            raise CliError(f"{text} is no HOST/PATH:TAG, HOST/PATH@DIGEST or oci:FOLDER@DIGEST")
        return cls(place, name, is_layout)


@contextmanager
def opened(image: ImageName, auth: Path | None, *, insecure: bool) -> Iterator[Repository]:
    """Give the repository that an image is in.

    Args:
        auth: File of credentials, as ~/.docker/config.json has them; None is that one.

    Raises:
        CliError: There is no such folder.
        RegistryError
    """
    if image.is_layout:
        from mopt_optimizer.proofs.layout import Layout

        if not Path(image.place, "blobs", "sha256").is_dir():
            raise CliError(f"{image.place} is no OCI image layout: it has no blobs/sha256")
        yield Layout(Path(image.place))
        return
    from mopt_api.jobs.publishing import REGISTRY_AUTH_VARIABLE
    from mopt_optimizer.publishing.registry import open_registry

    folder = os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker"
    known = {REGISTRY_AUTH_VARIABLE: str(auth or Path(folder, "config.json"))}
    with open_registry(image.place, known, insecure=insecure) as registry:
        yield registry
