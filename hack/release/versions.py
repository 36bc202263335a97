"""Where the version stands. mopt_api/version.py has it; files that cannot read that repeat it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .errors import ReleaseError

# As both PEP 440 and Semantic Versioning write it, of which the chart takes only the latter.
_VERSION = re.compile(r"\d+\.\d+\.\d+")


@dataclass(frozen=True)
class Place:
    """A file that has the version.

    Attributes:
        pattern: With one group, the version; it may match more than once.
    """

    file: str
    pattern: str

    def versions(self, root: Path) -> list[str]:
        """Return the versions that stand there."""
        return re.findall(self.pattern, (root / self.file).read_text(), re.MULTILINE)

    def write(self, root: Path, version: str) -> None:
        """Put another in their place."""
        path = root / self.file

        def replaced(match: re.Match[str]) -> str:
            whole, start = match[0], match.start()
            return whole[: match.start(1) - start] + version + whole[match.end(1) - start :]

        path.write_text(re.sub(self.pattern, replaced, path.read_text(), flags=re.MULTILINE))


SOURCE = Place("crds/mopt_api/version.py", r'^VERSION = "(.+)"$')
_LABEL = r"^ARG VERSION=(.+)$"
COPIES = (
    Place("helm/mopt/Chart.yaml", r'^(?:version|appVersion): "?([^"\n]+)"?$'),
    Place("helm/mopt/Chart.yaml", r"^      image: mopt/\w+:(.+)$"),
    Place("README.md", r"dist/mopt-(.+)-py3-none-any\.whl"),
    Place("operator/Dockerfile", _LABEL),
    Place("optimizer_image/Dockerfile", _LABEL),
)


def version(root: Path) -> str:
    """Return the version of a checkout.

    Raises:
        ReleaseError: A file that repeats it has another.
    """
    (source,) = SOURCE.versions(root)
    for place in COPIES:
        found = place.versions(root)
        if {*found} != {source}:
            raise ReleaseError(
                f"{place.file} has version {', '.join(found) or 'nowhere'}, and {SOURCE.file} has "
                f"{source}: run `python hack/release bump VERSION`"
            )
    return source


def bump(root: Path, version: str) -> None:
    """Write another version wherever it stands.

    Raises:
        ReleaseError: It is not of the form 1.2.3.
    """
    if not _VERSION.fullmatch(version):
        raise ReleaseError(f"{version!r} is no version: three numbers, such as 1.2.3")
    for place in (SOURCE, *COPIES):
        place.write(root, version)
