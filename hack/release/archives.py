"""The images of a release as files."""

from __future__ import annotations

from pathlib import Path

from demo.clusters import has_docker
from demo.console import devcluster

from .commands import run
from .flavours import Flavour
from .source import Commit

REFERENCES = "images.txt"


def build(flavour: Flavour, version: str, commit: Commit, source: Path, output: Path) -> str:
    """Build an image of a commit's files, write it to a file of its own, and return its name.

    Takes minutes, and for the optimizer gigabytes. Its bytes are not the same each time: Debian's
    packages are those of the day.

    Returns:
        REPOSITORY:VERSION, with @DIGEST where buildah built it; docker gives none before a push.

    Raises:
        demo.console.DemoError: It could not be built.
        ReleaseError: It could not be written.
    """
    reference = f"{flavour.image.repository}:{version}"
    labels = {"VERSION": version, "REVISION": commit.revision, "CREATED": commit.stamp}
    options = [word for pair in labels.items() for word in ("--build-arg", "=".join(pair))]
    options += ["--file", str(source / flavour.image.dockerfile), "--context", str(source)]
    devcluster("build-image", reference, *flavour.image.options, *options)
    target = output / f"{flavour.name}-{version}.oci.tar"
    if has_docker():
        run(["docker", "save", reference, "--output", target], cwd=output)
        return reference
    digest = output / f"{flavour.name}.digest"
    run(
        ["buildah", "push", "--digestfile", digest, reference, f"oci-archive:{target}:{reference}"],
        cwd=output,
    )
    name = f"{reference}@{digest.read_text().strip()}"
    digest.unlink()
    return name
