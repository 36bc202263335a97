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

_GO_LINE = re.compile(r"^go (\S+)$", re.MULTILINE)


def required_go(go_mod: str) -> str:
    """Return the Go version that a go.mod asks for."""
    match = _GO_LINE.search(go_mod)
    return match[1] if match else "1.24.0"


def go_is_new_enough(installed: str, required: str) -> bool:
    """Compare `go env GOVERSION` (go1.26.8) with a go.mod's go line (1.26.0 or 1.26)."""
    have, need = parse_version(installed), parse_version(required)
    return have is not None and need is not None and have >= need


def build(tools: Sequence[Tool], target: Path) -> None:
    """Build tools of one module into a folder, each under its own name.

    Raises:
        ToolError: Go is missing or too old, or the compiler failed.
    """
    module = MODULES / tools[0].module
    names = ", ".join(tool.name for tool in tools)
    _check_go(names, required_go((module / "go.mod").read_text()))
    say(f"{names}: building from Go modules (minutes when nothing is cached)")
    output = str(target / tools[0].name) if len(tools) == 1 else f"{target}{os.sep}"
    command = [
        *("go", "build", "-mod=readonly", "-trimpath", "-buildvcs=false"),
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
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            command, cwd=module, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            while True:
                try:
                    code = process.wait(REPORT_EVERY)
                    break
                except subprocess.TimeoutExpired:
                    say(f"{names}: still building, {time.monotonic() - started:.0f} s")
        except BaseException:
            process.kill()
            process.wait()
            raise
        log.seek(0)
        lines = [line.strip() for line in log if not line.startswith("go: downloading")]
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
