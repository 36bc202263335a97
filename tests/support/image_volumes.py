"""What Pods of a node with image volumes are given: a published model, and programs to read it."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry import Registry

from devcluster.host import install, missing_packages
from devcluster.resolving import architecture

NAMESPACE = "image-volumes"
"""Enforces restricted Pods; the one beside it, NAMESPACE-host, lets them see the node."""
HOST_NAMESPACE = f"{NAMESPACE}-host"
# The programs that the Pods here run.
_APPLETS = ("sh", "ln", "sleep", "sha256sum", "cat", "ls")

Json = dict[str, Any]
RunPod = Callable[[Json, str, str], str]
"""Creates a Pod in a namespace, and returns what a container of it printed before its end."""


@dataclass(frozen=True)
class Published:
    """An image that mopt published.

    Attributes:
        reference: By digest.
        base: The image below it, which has a shell.
        digest: Of the model's file.
        path: Of this file below /models.
        source: The same file on this machine.
    """

    reference: str
    base: str
    digest: str
    path: str
    source: Path


def push_base(registry: Registry, folder: Path) -> str:
    """Push an image with a shell, which is installed where it is missing; return it by digest."""
    install(missing_packages({"busybox": "busybox-static"}))
    program = shutil.which("busybox")
    assert program is not None
    layer = folder / "layer.tar"
    with tarfile.open(layer, "w") as tar:
        tar.add(program, "bin/busybox")
        for name in _APPLETS:
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        # Where a Pod mounts the model, or links to it.
        for name in ("tmp", "mnt"):
            place = tarfile.TarInfo(name)
            place.type, place.mode = tarfile.DIRTYPE, 0o1777
            tar.addfile(place, io.BytesIO())
    tag = registry.repository("base:1")
    registry.crane("append", "--oci-empty-base", "-f", str(layer), "-t", tag)
    system = f"linux/{architecture()}"
    registry.crane("mutate", "--set-platform", system, "--env", "PATH=/bin", "-t", tag, tag)
    digest = registry.crane("digest", tag).decode().strip()
    return f"{registry.repository('base')}@{digest}"
