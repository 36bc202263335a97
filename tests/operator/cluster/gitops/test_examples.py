"""examples/gitops: the API server takes each object, by the definitions of those who wrote them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml
from flux import Kubectl

from devcluster.resolving import binary

pytestmark = pytest.mark.gitops

EXAMPLES = Path(__file__).resolve().parents[4] / "examples" / "gitops"
FOLDERS = sorted(file.parent for file in EXAMPLES.rglob("kustomization.yaml"))
# tests/operator/cluster/admission, which has Kyverno, applies its policy.
OTHERS = {EXAMPLES / "policy" / "kyverno.yaml"}
FILES = sorted(set(EXAMPLES.rglob("*.yaml")) - {f for d in FOLDERS for f in d.iterdir()} - OTHERS)


def _rendered(place: Path) -> str:
    """Return what is applied: of a folder, what kustomize makes of it."""
    if place.is_file():
        return place.read_text()
    command = [str(binary("kubectl")), "kustomize", str(place)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    "place", [*FOLDERS, *FILES], ids=lambda place: str(place.relative_to(EXAMPLES))
)
def test_api_server_takes_it(
    flux_definitions: None,
    argocd_definitions: None,
    kubectl: Kubectl,
    place: Path,
) -> None:
    text = _rendered(place)
    names = {raw["metadata"].get("namespace") for raw in yaml.safe_load_all(text)} - {None}
    for name in names:
        kubectl("apply", "-f", "-", stdin=_namespace(name))
    told = kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=text)
    assert told.count("(server dry run)") == len(list(yaml.safe_load_all(text)))


def _namespace(name: str) -> str:
    return yaml.safe_dump({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})


def test_digest_of_the_kustomization_reaches_the_volume() -> None:
    folder = EXAMPLES / "image-volume"
    (pinned,) = yaml.safe_load((folder / "kustomization.yaml").read_text())["images"]
    deployment = yaml.safe_load(_rendered(folder))
    (volume,) = deployment["spec"]["template"]["spec"]["volumes"]
    assert volume["image"]["reference"] == f"{pinned['name']}@{pinned['digest']}"
