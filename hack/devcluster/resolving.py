"""Finds each binary: KUBEBUILDER_ASSETS and PATH, the cache, the download, the build."""

import fcntl
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

from .building import build
from .downloading import download
from .errors import ToolError
from .progress import say
from .tools import Tool, accepts, tool_named

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def cache_dir() -> Path:
    """Return the folder that outlives clusters: binaries and base images."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "mopt"


def binaries(names: Sequence[str]) -> dict[str, Path]:
    """Return the path of each tool, downloading or building what is missing.

    Raises:
        ToolError: A name is unknown, or a tool can be had in no way.
    """
    wanted = [tool_named(name) for name in names]
    found = {tool.name: path for tool in wanted if (path := _present(tool))}
    absent = sorted((t for t in wanted if t.name not in found), key=lambda tool: tool.module)
    for _module, group in groupby(absent, key=lambda tool: tool.module):
        found |= _obtain(list(group))
    return {name: found[name] for name in names}


def missing(names: Sequence[str]) -> list[str]:
    """Return which tools would have to be downloaded or built.

    Raises:
        ToolError: A name is unknown.
    """
    return [tool.name for tool in map(tool_named, names) if _present(tool) is None]


def binary(name: str) -> Path:
    """Return the path of one tool."""
    return binaries([name])[name]


def cached_path(tool: Tool) -> Path:
    """Return where the cache keeps this version of a tool."""
    return cache_dir() / "bin" / f"{tool.name}-{tool.version}"


def _present(tool: Tool) -> Path | None:
    # A tool without a probe is our own: what else has its name is something different.
    for candidate in _installed(tool.name) if tool.probe else ():
        if _version_fits(tool, candidate):
            return candidate
    cached = cached_path(tool)
    return cached if os.access(cached, os.X_OK) else None


def _installed(name: str) -> Iterator[Path]:
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and os.access(Path(assets) / name, os.X_OK):
        yield Path(assets) / name
    on_path = shutil.which(name)
    if on_path:
        yield Path(on_path)


def _version_fits(tool: Tool, candidate: Path) -> bool:
    try:
        answer = subprocess.run(
            [candidate, *tool.probe], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        say(f"{tool.name}: {candidate} does not run; looking further")
        return False
    if answer.returncode == 0 and accepts(tool, answer.stdout):
        return True
    version = (answer.stdout.strip().splitlines() or ["no version"])[0]
    say(f"{tool.name}: {candidate} does not fit ({version}, wanted {tool.version})")
    return False


def architecture() -> str:
    """Return Go's name of this machine's architecture, empty when we know none."""
    return _ARCHITECTURES.get(platform.machine(), "")


def _obtain(tools: Sequence[Tool]) -> dict[str, Path]:
    arch = architecture()
    if platform.system() != "Linux" or not arch:
        raise ToolError(
            f"{tools[0].name} is not on PATH and this tool fetches it for Linux on amd64 and "
            f"arm64 only, not {platform.system()} {platform.machine()}; install it"
        )
    folder = cache_dir() / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    with (
        _locked(folder / f".{tools[0].module}.lock"),
        tempfile.TemporaryDirectory(prefix=".new-", dir=folder) as scratch,
    ):
        # Another process may have filled the cache while we waited for the lock.
        missing = [tool for tool in tools if not os.access(cached_path(tool), os.X_OK)]
        to_build = [t for t in missing if not download(t, arch, Path(scratch) / t.name)]
        if to_build:
            build(to_build, Path(scratch))
        for tool in missing:
            fresh = Path(scratch) / tool.name
            fresh.chmod(0o755)
            fresh.replace(cached_path(tool))
    return {tool.name: cached_path(tool) for tool in tools}


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another devcluster that holds {path.name}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
