"""Builds images with docker where its daemon answers, otherwise with buildah."""

import configparser
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import host
from .errors import ImageError
from .progress import say

BUILDAH_PACKAGES = {"buildah": "buildah"}
CERTIFICATES = Path("/etc/ssl/certs")
BUNDLE = CERTIFICATES / "ca-certificates.crt"
# pip options that say where packages come from; paths of this machine mean nothing in a build.
_PIP_OPTIONS = (
    *("index-url", "extra-index-url", "trusted-host", "no-index", "proxy"),
    *("timeout", "retries"),
)
# Options without which a build would ask the wrong place.
_PIP_SOURCES = ("index-url", "extra-index-url", "trusted-host", "no-index", "proxy")


@dataclass(frozen=True)
class Build:
    """One image to build."""

    reference: str
    dockerfile: Path
    context: Path
    arguments: Mapping[str, str] = field(default_factory=dict)
    target: str | None = None


def docker_works() -> bool:
    """Say whether a docker daemon answers; the client alone is often installed."""
    if shutil.which("docker") is None:
        return False
    try:
        answer = subprocess.run(["docker", "info"], capture_output=True, timeout=20, check=False)
    except subprocess.TimeoutExpired:
        return False
    return answer.returncode == 0


def ensure_engine() -> bool:
    """Install buildah where there is neither engine; return whether docker is used."""
    if docker_works():
        return True
    host.extend_path()
    host.install(host.missing_packages(BUILDAH_PACKAGES))
    return False


def build(order: Build) -> None:
    """Build an image; the engine's output goes to standard error.

    Raises:
        ImageError: The file is not there, or the engine failed.
    """
    if not order.dockerfile.is_file():
        raise ImageError(f"there is no Dockerfile at {order.dockerfile}")
    if not order.context.is_dir():
        raise ImageError(f"there is no context folder at {order.context}")
    docker = ensure_engine()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mopt-build-") as scratch:
        if docker:
            command = docker_command(order)
        else:
            mounts = build_mounts(Path(scratch), os.environ)
            command = buildah_command(order, mounts)
        say(f"{order.reference}: building with {command[0]}")
        # Our standard output carries results only.
        code = subprocess.run(command, stdout=2, check=False).returncode
    if code:
        raise ImageError(f"{command[0]} could not build {order.reference}; its output is above")
    say(f"{order.reference}: built in {time.monotonic() - started:.1f} s")


def docker_command(order: Build) -> list[str]:
    """Return docker's command line."""
    return ["docker", "build", "--network", "host", *_common(order)]


def buildah_command(order: Build, mounts: Sequence[tuple[Path, Path]]) -> list[str]:
    """Return buildah's command line.

    Args:
        mounts: Pairs of host path and path during RUN; mounted read-only, not in the image.
    """
    volumes = [word for src, dst in mounts for word in ("--volume", f"{src}:{dst}:ro")]
    return [
        *("buildah", "bud", "--isolation", "chroot", "--layers", "--network", "host"),
        *volumes,
        *_common(order),
    ]


def _common(order: Build) -> list[str]:
    arguments = [w for k, v in order.arguments.items() for w in ("--build-arg", f"{k}={v}")]
    target = ["--target", order.target] if order.target else []
    reference, file = order.reference, str(order.dockerfile)
    return [*arguments, *target, "-t", reference, "-f", file, str(order.context)]


def build_mounts(scratch: Path, environment: Mapping[str, str]) -> list[tuple[Path, Path]]:
    """Return what a build sees of this machine: its authorities and package sources.

    Files at a path that an image lacks leave an empty file behind, so they are mounted
    only when this machine names package sources of its own.
    """
    mounts = []
    if BUNDLE.exists():
        mounts.append((CERTIFICATES, CERTIFICATES))
    system = Path("/etc/pip.conf")
    pip = pip_conf(environment, system.read_text() if system.exists() else "")
    if pip:
        (scratch / "pip.conf").write_text(pip)
        mounts.append((scratch / "pip.conf", system))
    uv = uv_toml(environment)
    if uv:
        (scratch / "uv.toml").write_text(uv)
        mounts.append((scratch / "uv.toml", Path("/etc/uv/uv.toml")))
    return mounts


def pip_conf(environment: Mapping[str, str], system: str) -> str:
    """Render the pip.conf for builds, empty when the machine names no source of its own.

    Args:
        environment: The variables PIP_*; they win over the file.
        system: Text of the machine's /etc/pip.conf.
    """
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(system)
    except configparser.Error:
        parser = configparser.RawConfigParser()
    options = {}
    for name in _PIP_OPTIONS:
        value = environment.get("PIP_" + name.upper().replace("-", "_"))
        value = value or parser.get("global", name, fallback=None)
        if value:
            # A value on several lines continues by indentation.
            options[name] = "\n    ".join(value.split())
    if not any(name in options for name in _PIP_SOURCES):
        return ""
    options["cert"] = str(BUNDLE)
    return "[global]\n" + "".join(f"{name} = {value}\n" for name, value in options.items())


def uv_toml(environment: Mapping[str, str]) -> str:
    """Render the uv.toml for builds, empty when the machine names no index of its own."""
    index = environment.get("UV_DEFAULT_INDEX") or environment.get("UV_INDEX_URL")
    if not index:
        return ""
    return f'native-tls = true\n[[index]]\nurl = "{index}"\ndefault = true\n'
