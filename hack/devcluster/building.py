"""Builds from Go modules whose go.mod and go.sum are committed next to this file."""

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from .errors import ToolError
from .progress import say
from .tools import Tool, parse_version

MODULES = Path(__file__).resolve().parent / "go"
# Seconds between two lines that say a build is still going on.
REPORT_EVERY = 20.0

# What `go build -v` says of its progress; the rest is an error.
_PROGRESS = re.compile(r"^(go: downloading .*|[\w.~/-]+)$")
_GO_LINE = re.compile(r"^go (\S+)$", re.MULTILINE)


def required_go(go_mod: str) -> str:
    """Return the Go version that a go.mod asks for."""
    match = _GO_LINE.search(go_mod)
    return match[1] if match else "1.24.0"


def go_is_new_enough(installed: str, required: str) -> bool:
    """Compare `go env GOVERSION` (go1.26.8) with a go.mod's go line (1.26.0 or 1.26)."""
    have, need = parse_version(installed), parse_version(required)
    return have is not None and need is not None and have >= need


def packages_compiled(log: str) -> int:
    """Return how many packages `go build -v` has named."""
    found = (line for line in log.splitlines() if _PROGRESS.match(line))
    return sum(not line.startswith("go: ") for line in found)


def build(tools: Sequence[Tool], target: Path) -> None:
    """Build tools of one module into a folder, each under its own name.

    Raises:
        ToolError: Go is missing or too old, or the compiler failed.
    """
    module = MODULES / tools[0].module
    names = ", ".join(tool.name for tool in tools)
    _check_go(names, required_go((module / "go.mod").read_text()))
    say(f"{names}: building from Go modules, once for this user: up to some minutes")
    output = str(target / tools[0].name) if len(tools) == 1 else f"{target}{os.sep}"
    command = [
        *("go", "build", "-v", "-mod=readonly", "-trimpath", "-buildvcs=false"),
        *((f"-tags={tools[0].tags}",) if tools[0].tags else ()),
        *("-ldflags", f"-s -w {tools[0].ldflags}".strip(), "-o", output),
        *(tool.package for tool in tools),
    ]
    environment = {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOFLAGS": "",
        "GOWORK": "off",
        "GOTOOLCHAIN": "local",
    }
    started = time.monotonic()
    with tempfile.NamedTemporaryFile("w+") as log:
        process = subprocess.Popen(
            command, cwd=module, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            while True:
                try:
                    code = process.wait(REPORT_EVERY)
                    break
                except subprocess.TimeoutExpired:
                    done = packages_compiled(Path(log.name).read_text(errors="replace"))
                    seconds = time.monotonic() - started
                    say(f"{names}: still building, {seconds:.0f} s, {done} packages compiled")
        except BaseException:
            process.kill()
            process.wait()
            raise
        log.seek(0)
        lines = [line.strip() for line in log if not _PROGRESS.match(line)]
    if code:
        detail = " | ".join(lines[-3:]) or "no output"
        raise ToolError(f"building {names} failed: {detail}")
    say(f"{names}: built in {time.monotonic() - started:.0f} s")


def _check_go(names: str, required: str) -> None:
    advice = f"install Go {required} or newer from go.dev/dl, or put {names} on PATH"
    if shutil.which("go") is None:
        raise ToolError(f"{names} must be built and Go is not on PATH; {advice}")
    answer = subprocess.run(
        ["go", "env", "GOVERSION"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "GOTOOLCHAIN": "local"},
    )
    installed = answer.stdout.strip()
    if not go_is_new_enough(installed, required):
        found = installed or answer.stderr.strip() or "an unusable go"
        raise ToolError(f"{names} must be built and {found} is too old; {advice}")
