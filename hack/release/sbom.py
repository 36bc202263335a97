"""Bills of materials of the images' Python packages, from the locks they are built of. Pure."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.dependency import Dependency
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement

from .source import Commit

# What the images are: markers in the locks choose by it.
PLATFORM = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": "3.11.0",
    "python_version": "3.11",
    "sys_platform": "linux",
}
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def bom(image: str, version: str, commit: Commit, locks: Iterable[str]) -> str:
    """Return a CycloneDX bill of materials, the same for the same commit.

    Args:
        image: Its repository, such as mopt/operator.
        locks: Texts of the lock files that its Dockerfile installs.
    """
    subject = Component(
        type=ComponentType.CONTAINER,
        bom_ref=image,
        name=image,
        version=version,
        properties=[Property(name="mopt:revision", value=commit.revision)],
    )
    packages = {part.bom_ref.value: part for lock in locks for part in _packages(lock)}
    bill = Bom(
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"{image}@{commit.revision}"),
        metadata=BomMetaData(component=subject, timestamp=commit.time),
        components=packages.values(),
        dependencies=[
            Dependency(subject.bom_ref, [Dependency(p.bom_ref) for p in packages.values()])
        ],
    )
    return JsonV1Dot6(bill).output_as_string(indent=2) + "\n"


def _packages(lock: str) -> Iterator[Component]:
    """Yield what a lock installs on PLATFORM; hashes are of all files that it accepts."""
    for entry in lock.replace("\\\n", " ").splitlines():
        requirement = Requirement(entry.partition("--hash")[0])
        if requirement.marker and not requirement.marker.evaluate(PLATFORM):
            continue
        (pin,) = requirement.specifier
        purl = PackageURL("pypi", None, requirement.name, pin.version)
        yield Component(
            bom_ref=purl.to_string(),
            name=requirement.name,
            version=pin.version,
            purl=purl,
            hashes=[
                HashType(alg=HashAlgorithm.SHA_256, content=digest)
                for digest in _HASH.findall(entry)
            ],
        )
