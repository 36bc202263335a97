"""What the chart's tests call: what it renders, and what their fixtures return."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

Manifest = dict[str, Any]
Render = Callable[..., list[Manifest]]
Only = Callable[..., Manifest]
Get = Callable[..., Manifest]
Command = Callable[..., "subprocess.CompletedProcess[str]"]
Eventually = Callable[[Callable[[], bool], str], None]
RunOperator = Callable[[Path, str, str], AbstractContextManager[tuple[int, Path]]]


def named(manifests: list[Manifest], kind: str) -> list[tuple[str | None, str]]:
    return [
        (m["metadata"].get("namespace"), m["metadata"]["name"])
        for m in manifests
        if m["kind"] == kind
    ]


def container_of(deployment: Manifest) -> Manifest:
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert isinstance(container, dict)
    return container
