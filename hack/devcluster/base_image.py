"""The base of image builds: python:3.11-slim where it can be pulled, else one built here."""

import os
import platform
import re
import shutil
import subprocess
import time
from pathlib import Path

from . import engines, host
from .engines import Build
from .errors import HostError, ImageError
from .progress import say
from .resolving import cache_dir

OFFICIAL = "docker.io/library/python:3.11-slim-bookworm"
LOCAL = "localhost/mopt-devcluster/base:bookworm"
SUITE = "bookworm"
CONTENT = (
    "ca-certificates",
    "libgomp1",
    "libstdc++6",
    "python-is-python3",
    "python3",
    "python3-venv",
)
# Raise when CONTENT or the recipe changes: the cached tar carries it in its name.
RECIPE = 1
# Seconds; after it a pull counts as not quick.
PULL_TIMEOUT = 60.0
# Seconds for which a failed pull is remembered.
PULL_MEMORY = 3600.0

_DOCKERFILE = """FROM scratch
ADD {tar} /
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
CMD ["/bin/bash"]
"""


def build(reference: str) -> None:
    """Build the Debian base and store it under a name in the engine's storage.

    Raises:
        HostError: mmdebstrap is missing and cannot be installed.
        ImageError: mmdebstrap failed.
    """
    tar = _tar()
    context = tar.parent
    dockerfile = context / f"{tar.stem}.Dockerfile"
    dockerfile.write_text(_DOCKERFILE.format(tar=tar.name))
    engines.build(Build(reference, dockerfile, context))


def choose() -> str:
    """Return the base for a build: MOPT_BASE_IMAGE, the official one, or ours."""
    given = os.environ.get("MOPT_BASE_IMAGE")
    if given:
        return given
    if _can_pull(engines.ensure_engine()):
        return OFFICIAL
    say(f"{OFFICIAL} cannot be pulled; using a Debian base built here")
    build(LOCAL)
    return LOCAL


def declares_base(dockerfile: Path) -> bool:
    """Say whether a Dockerfile lets the caller choose its base by ARG BASE_IMAGE."""
    try:
        lines = dockerfile.read_text().splitlines()
    except OSError:
        return False
    return any(re.match(r"\s*ARG\s+BASE_IMAGE\b", line, re.IGNORECASE) for line in lines)


def _tar() -> Path:
    folder = cache_dir() / "base"
    folder.mkdir(parents=True, exist_ok=True)
    tar = folder / f"{SUITE}-{platform.machine()}-{RECIPE}.tar"
    if tar.exists():
        return tar
    if os.geteuid() != 0 and shutil.which("mmdebstrap") is None:
        raise HostError("mmdebstrap is not installed; install it, or set MOPT_BASE_IMAGE")
    host.extend_path()
    host.install(host.missing_packages({"mmdebstrap": "mmdebstrap"}))
    say(f"building a Debian {SUITE} base by mmdebstrap (about a minute, then cached)")
    started = time.monotonic()
    fresh = tar.with_name(f".{tar.name}.{os.getpid()}.tar")
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(CONTENT)}"]
    # The lists of packages are of no use in an image.
    hooks = ["--customize-hook=rm -rf $1/var/lib/apt/lists/* $1/var/cache/apt/*.bin"]
    answer = subprocess.run(
        [*command, *hooks, SUITE, str(fresh)], capture_output=True, text=True, check=False
    )
    if answer.returncode:
        fresh.unlink(missing_ok=True)
        detail = (answer.stderr.strip().splitlines() or ["no output"])[-1]
        raise ImageError(f"mmdebstrap failed: {detail}; set MOPT_BASE_IMAGE to an image you have")
    fresh.replace(tar)
    say(f"base built in {time.monotonic() - started:.0f} s")
    return tar


def _can_pull(docker: bool) -> bool:
    engine = "docker" if docker else "buildah"
    exists = [engine, *(("image",) if docker else ()), "inspect"]
    kind = [] if docker else ["--type", "image"]
    if subprocess.run([*exists, *kind, OFFICIAL], capture_output=True, check=False).returncode == 0:
        return True
    failed = cache_dir() / "base" / f"pull-failed-{engine}"
    if failed.exists() and time.time() - failed.stat().st_mtime < PULL_MEMORY:
        return False
    say(f"pulling {OFFICIAL}")
    try:
        answer = subprocess.run(
            [engine, "pull", OFFICIAL], capture_output=True, timeout=PULL_TIMEOUT, check=False
        )
        if answer.returncode == 0:
            return True
    except subprocess.TimeoutExpired:
        say(f"the pull took more than {PULL_TIMEOUT:.0f} s")
    failed.parent.mkdir(parents=True, exist_ok=True)
    failed.touch()
    return False
