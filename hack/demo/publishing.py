"""The demo's registry: deployed into the cluster, and what was published to it."""

from __future__ import annotations

import json
from typing import Any

from .console import ROOT, Kubectl, run, say, tool

SERVICE_PORT = 5000


def deploy(kubectl: Kubectl, namespace: str, image: str) -> None:
    """Start the registry and wait until it answers."""
    manifest = (ROOT / "hack" / "demo" / "registry" / "registry.yaml").read_text()
    kubectl("apply", "-n", namespace, "-f", "-", stdin=manifest.replace("mopt/registry:dev", image))
    say("waiting for the registry")
    kubectl("rollout", "status", "deployment/registry", "-n", namespace, "--timeout=600s")


def destination(namespace: str, name: str) -> dict[str, Any]:
    """Return spec.publish of a resource that publishes to the registry."""
    repository = f"registry.{namespace}.svc:{SERVICE_PORT}/{name}"
    # The registry is in the cluster and has no certificate.
    return {"oci": {"repository": repository, "insecure": True}}


def published(resource: dict[str, Any]) -> str | None:
    """Return the reference of the first target that was published; None where none was."""
    targets = resource["status"].get("targets", [])
    found = (target["published"]["reference"] for target in targets if "published" in target)
    return next(found, None)


def manifest_of(kubectl: Kubectl, namespace: str, reference: str) -> str:
    """Return the manifest that the registry holds under a reference, read by crane."""
    path = reference.partition("/")[2]
    with kubectl.forward(namespace, "registry", SERVICE_PORT) as address:
        text = run([tool("crane"), "manifest", "--insecure", f"{address}/{path}"], quiet=True)
    return json.dumps(json.loads(text), indent=2)
