"""The demo's images, tagged by what goes into them: the same content is never built twice."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import clusters
from .console import ROOT, devcluster, tool

_LENGTH = 12
_BUILDAH_INSPECT = ["buildah", "inspect", "--type", "image"]


@dataclass(frozen=True)
class Image:
    """How one image is built.

    Attributes:
        repository: Its name without a tag.
        dockerfile: Path under the repository's root.
        inputs: Files and folders under the root that end up in it.
        options: Of devcluster's build-image.
    """

    repository: str
    dockerfile: str
    inputs: tuple[str, ...]
    options: tuple[str, ...] = ()

    def reference(self) -> str:
        """Return the name with a tag that is a digest of all inputs."""
        digest = hashlib.sha256()
        for name in (self.dockerfile, *self.inputs):
            for path in _files(ROOT / name):
                digest.update(str(path.relative_to(ROOT)).encode() + b"\0")
                digest.update(hashlib.sha256(path.read_bytes()).digest())
        return f"{self.repository}:dev-{digest.hexdigest()[:_LENGTH]}"

    def build(self) -> str:
        """Build the image into the local storage and return its reference."""
        return _build(self.reference(), ROOT / self.dockerfile, ROOT, *self.options)


OPERATOR = Image(
    "mopt/operator",
    "operator/Dockerfile",
    ("requirements/operator.txt", "crds/mopt_api", "operator/mopt_operator"),
)
OPTIMIZER = Image(
    "mopt/optimizer",
    "optimizer_image/Dockerfile",
    ("requirements/optimizer-cpu.txt", "crds/mopt_api", "optimizer_image/mopt_optimizer"),
)
# On the optimizer's layers.
SERVE = Image(
    "mopt/serve",
    OPTIMIZER.dockerfile,
    (*OPTIMIZER.inputs, "requirements/serve.txt", "cli/mopt_cli"),
    ("--target", "serve"),
)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    found = (p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return sorted(found)


def _exists(reference: str) -> bool:
    probe = ["docker", "image", "inspect"] if clusters.has_docker() else _BUILDAH_INSPECT
    if shutil.which(probe[0]) is None:
        return False
    return subprocess.run([*probe, reference], capture_output=True, check=False).returncode == 0


def _build(reference: str, dockerfile: Path, context: Path, *options: str) -> str:
    if not _exists(reference):
        devcluster("build-image", reference, "--file", dockerfile, "--context", context, *options)
    return reference


def build_from_binary(name: str, workspace: Path) -> str:
    """Build the image of a static binary, by hack/demo/NAME/Dockerfile; return its reference."""
    context = workspace / f"{name}-image"
    context.mkdir(parents=True, exist_ok=True)
    shutil.copy2(ROOT / "hack" / "demo" / name / "Dockerfile", context)
    shutil.copy2(tool(name), context / name)
    (context / name).chmod(0o755)
    digest = hashlib.sha256((context / "Dockerfile").read_bytes())
    with (context / name).open("rb") as file:
        digest.update(hashlib.file_digest(file, "sha256").digest())
    reference = f"mopt/{name}:dev-{digest.hexdigest()[:_LENGTH]}"
    return _build(reference, context / "Dockerfile", context, "--build-arg", "BASE_IMAGE=scratch")
