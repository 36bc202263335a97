"""Brings images to the node's containerd, sending only the layers it lacks.

skopeo writes the image into an OCI layout. For each layer that containerd has, the layout
starts with a hollow file of the right name and size, so skopeo does not write it; then a tar
with manifest, configuration and the missing layers is streamed into `ctr images import`.
"""

import contextlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path

from . import containerd, host, oci
from .errors import ImageError, NotRunningError
from .paths import Home
from .processes import Processes
from .progress import say

# Smaller blobs (manifests, configurations) are always written anew.
HOLLOW_FROM = 1 << 20
PACKAGES = {"skopeo": "skopeo"}
SOURCES = ("buildah", "docker")


def load(home: Home, reference: str, source: str | None) -> str:
    """Make an image available to Pods and return the name under which containerd has it.

    Args:
        source: "buildah", "docker", or None for the first of them that has it.

    Raises:
        NotRunningError: The cluster is not up.
        ImageError: The image is nowhere, or could not be sent.
    """
    if not Processes(home.folder).running("containerd"):
        raise NotRunningError("the cluster is not up; start it with `up`, then load images")
    host.install(host.missing_packages(PACKAGES))
    started = time.monotonic()
    name = oci.normalize(reference)
    origin = _origin(reference, source)
    stored = _stored_sizes(home)
    with tempfile.TemporaryDirectory(prefix="load-", dir=home.folder) as scratch:
        layout = Path(scratch)
        _hollow(layout, stored)
        _run(
            ["skopeo", "copy", "--quiet", "--insecure-policy"],
            ["--dest-oci-accept-uncompressed-layers", origin, f"oci:{layout}:image"],
        )
        image = _read_image(layout)
        sent = oci.blobs_to_send(image, stored)
        written = time.monotonic()
        size = _import(home, layout, image, name, sent)
    containerd.ctr(home, "images", "label", name, containerd.PIN)
    say(
        f"{name}: {len(sent) - 2} of {len(image.layers)} layers sent ({size / 1e6:.0f} MB), "
        f"written in {written - started:.1f} s, imported in {time.monotonic() - written:.1f} s"
    )
    return name


def _origin(reference: str, source: str | None) -> str:
    """Return skopeo's name of the image in the first engine that has it.

    Raises:
        ImageError: No engine has it.
    """
    if source != "docker" and shutil.which("buildah"):
        # By its id: buildah stores mopt/x as localhost/mopt/x, skopeo would look in docker.io.
        shown = ["buildah", "inspect", "--type", "image", "--format", "{{.FromImageID}}"]
        answer = subprocess.run([*shown, reference], capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            return f"containers-storage:@{answer.stdout.strip()}"
    if source != "buildah" and shutil.which("docker"):
        command = ["docker", "image", "inspect", reference]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            tagged = reference if ":" in reference.rpartition("/")[2] else f"{reference}:latest"
            return f"docker-daemon:{tagged}"
    engines = source or "neither buildah nor docker"
    verb = "has no" if source else "has an"
    raise ImageError(f"{engines} {verb} image {reference}; build it with `build-image`")


def _stored_sizes(home: Home) -> dict[str, int]:
    """Return digest and size of the blobs in the node's content store."""
    blobs = home.containerd_root / "io.containerd.content.v1.content" / "blobs"
    sizes = {}
    for digest in containerd.ctr(home, "content", "list", "-q").split():
        try:
            sizes[digest] = (blobs / digest.replace(":", "/")).stat().st_size
        except FileNotFoundError:
            # Just collected; then it is sent.
            continue
    return sizes


def _hollow(layout: Path, stored: dict[str, int]) -> None:
    (layout / "blobs" / "sha256").mkdir(parents=True)
    for digest, size in stored.items():
        if size >= HOLLOW_FROM:
            place = layout / oci.blob_path(digest)
            place.touch()
            # Sparse: right size, no data; never sent, since containerd has it.
            os.truncate(place, size)


def _read_image(layout: Path) -> oci.Image:
    index = json.loads((layout / "index.json").read_text())
    descriptor = index["manifests"][0]
    manifest = json.loads((layout / oci.blob_path(descriptor["digest"])).read_text())
    return oci.Image(descriptor, manifest)


def _import(home: Home, layout: Path, image: oci.Image, name: str, sent: list[str]) -> int:
    """Stream the tar into containerd and return the bytes of its blobs."""
    size = 0
    with tempfile.TemporaryFile("w+") as complaints:
        process = subprocess.Popen(
            containerd.ctr_command(home, "images", "import", "-"),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=complaints,
        )
        try:
            with tarfile.open(fileobj=process.stdin, mode="w|", bufsize=1 << 20) as tar:
                oci.add_bytes(tar, "oci-layout", oci.LAYOUT)
                oci.add_bytes(tar, "index.json", oci.index_for(image, name))
                for digest in sent:
                    place = layout / oci.blob_path(digest)
                    size += place.stat().st_size
                    tar.add(place, oci.blob_path(digest), recursive=False)
        except BrokenPipeError:
            say("ctr ended before it had everything")
        finally:
            if process.stdin:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()
            code = process.wait()
        if code:
            complaints.seek(0)
            detail = (complaints.read().strip().splitlines() or ["no output"])[-1]
            raise ImageError(f"containerd refused {name}: {detail}")
    return size


def _run(*parts: list[str]) -> None:
    command = [word for part in parts for word in part]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        detail = (answer.stderr.strip().splitlines() or ["no output"])[-1]
        raise ImageError(f"{command[0]} could not read the image: {detail}")
