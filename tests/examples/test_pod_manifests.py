"""examples/serve and examples/gc: each Pod is what restricted Pod Security admits, and names what
there is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mopt_optimizer.server.arguments import parsed

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FILES = [file for name in ("serve", "gc") for file in sorted((EXAMPLES / name).glob("*.yaml"))]


def pod_specs(value: Any) -> Iterator[dict[str, Any]]:
    """Yield whatever has containers, wherever it is."""
    if isinstance(value, dict):
        if "containers" in value:
            yield value
        for each in value.values():
            yield from pod_specs(each)
    elif isinstance(value, list):
        for each in value:
            yield from pod_specs(each)


PODS = [
    pytest.param(pod, id=file.name)
    for file in FILES
    for document in yaml.safe_load_all(file.read_text())
    for pod in pod_specs(document)
]


def test_all_are_there() -> None:
    names = ["analysis.yaml", "deployment.yaml", "health.yaml", "serving-runtime.yaml"]
    assert [file.name for file in FILES] == [*names, "claim.yaml"]
    assert len(PODS) == 5


@pytest.mark.parametrize("pod", PODS)
def test_pods_are_restricted(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    rights = pod.get("securityContext", {}) | container["securityContext"]
    assert rights["runAsNonRoot"] is True
    assert rights["allowPrivilegeEscalation"] is False
    assert rights["readOnlyRootFilesystem"] is True
    assert rights["capabilities"] == {"drop": ["ALL"]}
    assert rights["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["resources"]["requests"] == container["resources"]["limits"]
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}  # noqa: S108


@pytest.mark.parametrize("pod", PODS)
def test_arguments_are_those_of_the_programs(pod: dict[str, Any]) -> None:
    from typer.main import get_command

    from mopt_cli.main import app

    (container,) = pod["containers"]
    if "command" not in container:
        assert parsed(container["args"]).folder.name == "models"
        return
    assert container["command"][-1] == "mopt_cli.main"
    name, *options = container["args"]
    command = get_command(app).commands[name]  # type: ignore[attr-defined]
    context = command.make_context(name, list(options))
    if name == "verify-endpoint":
        assert context.params["speed"] == 0.5
