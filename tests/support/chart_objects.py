"""What the chart's tests call the objects that it renders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Manifest = dict[str, Any]
Render = Callable[..., list[Manifest]]
Only = Callable[..., Manifest]


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
