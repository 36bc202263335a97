"""The demo's last step: what was published is served, and verified from another Pod."""

from __future__ import annotations

import time
from typing import Any

from .console import ROOT, DemoError, Kubectl, say

DEADLINE_SECONDS = 600
_SHOWN = ("holds ", "latency ", "of these ")
_MANIFEST = ROOT / "hack" / "demo" / "serving" / "serving.yaml"


def manifests_for(resource: dict[str, Any], image: str) -> tuple[str, str, str]:
    """Return the manifests that serve what a resource published, that of the Job which verifies it,
    and the Job's name, which is another one for each result."""
    name, target = resource["metadata"]["name"], resource["status"]["targets"][0]
    report = target["report"]
    verify = f"verify-{report['digest'].removeprefix('sha256:')[:10]}"
    filled = {
        "IMAGE": image,
        "RESULT": report["uri"],
        # A status that an older operator wrote names what it selected alone.
        "VARIANT": target["published"].get("variant", target["artifact"]["variant"]),
        "VERIFY": verify,
        "NAME": name,
    }
    text = _MANIFEST.read_text()
    for placeholder, value in filled.items():
        text = text.replace(placeholder, value)
    server, _, job = text.rpartition("\n---\n")
    return server, job, verify


def serve(kubectl: Kubectl, namespace: str, resource: dict[str, Any], image: str) -> str:
    """Serve what a resource published and verify it; return what the verification printed.

    Raises:
        DemoError: The server does not answer as the form was measured.
    """
    server, job, verify = manifests_for(resource, image)
    kubectl("apply", "-n", namespace, "-f", "-", stdin=server)
    say("waiting for the server")
    deployment = f"deployment/{resource['metadata']['name']}"
    kubectl("rollout", "status", deployment, "-n", namespace, f"--timeout={DEADLINE_SECONDS}s")
    say("verifying from another Pod that it answers as it was measured")
    kubectl("apply", "-n", namespace, "-f", "-", stdin=job)
    state = _end_of(kubectl, namespace, verify)
    printed = kubectl("logs", _last_pod(kubectl, namespace, verify), "-n", namespace)
    if state != "Complete":
        raise DemoError(f"Job {verify}: {state}: {printed.strip()[-500:]}")
    # Without the progress before it.
    lines = (line.rstrip() for line in printed.splitlines())
    return "\n".join(line for line in lines if line.startswith(_SHOWN))


def _last_pod(kubectl: Kubectl, namespace: str, job: str) -> str:
    """Return the name of the Pod of a Job's last attempt."""
    selector = f"batch.kubernetes.io/job-name={job}"
    pods = kubectl.get("pods", "-n", namespace, "-l", selector)["items"]
    names = {pod["metadata"]["creationTimestamp"]: str(pod["metadata"]["name"]) for pod in pods}
    return names[max(names)]


def _end_of(kubectl: Kubectl, namespace: str, job: str) -> str:
    """Wait until a Job has ended; return the type of its last condition."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        conditions = kubectl.get("job", job, "-n", namespace)["status"].get("conditions", [])
        found = [c["type"] for c in conditions if c["status"] == "True"]
        for ended in ("Complete", "Failed"):
            if ended in found:
                return ended
        time.sleep(1)
    raise DemoError(f"Job {job} did not end within {DEADLINE_SECONDS} s")
