"""Helpers of the e2e tests: run the demo as its user does, look at what it left."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.__main__ import NAMESPACE, SYSTEM_NAMESPACE
from demo.console import Kubectl

ROOT = Path(__file__).resolve().parents[2]
NAME = "super-resolution"
KIND = "modeloptimizations.mopt.dev"
OPERATOR_USER = f"system:serviceaccount:{SYSTEM_NAMESPACE}:mopt"


@dataclass
class Demo:
    """A finished demo.

    Attributes:
        optimizer: The optimizer image's reference when it was built.
    """

    kubectl: Kubectl
    optimizer: str
    output: str
    resource: dict[str, Any]
    jobs: list[dict[str, Any]]
    pods: list[dict[str, Any]]
    seconds: float

    @property
    def target(self) -> dict[str, Any]:
        """The only target's status."""
        (target,) = self.resource["status"]["targets"]
        return dict(target)

    @property
    def published(self) -> dict[str, Any]:
        """The status of the form that was published: of a baseline that is kept, its export."""
        return self.variant(self.target["published"]["variant"])

    def variant(self, name: str) -> dict[str, Any]:
        """A variant's status, or the baseline's."""
        if name == "baseline":
            return dict(self.target["baseline"])
        (found,) = [v for v in self.target["variants"] if v["name"] == name]
        return dict(found)


def run_demo(*arguments: str) -> str:
    """Run hack/demo as `make demo` does; return what it printed."""
    command = [sys.executable, str(ROOT / "hack" / "demo"), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    print(result.stdout, result.stderr, sep="\n")
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout


def listed(kubectl: Kubectl, kind: str, name: str, namespace: str = NAMESPACE) -> list[Any]:
    """Return the Jobs or Pods of one resource."""
    found = kubectl.get(kind, "-n", namespace, "-l", f"mopt.dev/name={name}")
    return list(found.get("items", []))


def stages_of_jobs(kubectl: Kubectl, name: str) -> dict[str, str]:
    """Return a resource's Jobs: uid to stage."""
    found = listed(kubectl, "jobs", name)
    return {j["metadata"]["uid"]: j["metadata"]["labels"]["mopt.dev/stage"] for j in found}


def only_the_operator_creates_jobs() -> dict[str, Any]:
    """Return an admission policy: in the demo's namespace nobody else may create Jobs.

    A Job does not say who created it; with this policy in force its existence does.
    """
    name = "only-the-operator-creates-jobs"
    return {
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            {
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "ValidatingAdmissionPolicy",
                "metadata": {"name": name},
                "spec": {
                    "failurePolicy": "Fail",
                    "matchConstraints": {
                        "resourceRules": [
                            {
                                "apiGroups": ["batch"],
                                "apiVersions": ["v1"],
                                "operations": ["CREATE"],
                                "resources": ["jobs"],
                            }
                        ]
                    },
                    "validations": [
                        {
                            # But for the Job by which the demo's user verifies what is served.
                            "expression": f"request.userInfo.username == '{OPERATOR_USER}' || "
                            "object.metadata.name.startsWith('verify-')",
                            "message": "only the operator creates Jobs here",
                        }
                    ],
                },
            },
            {
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "ValidatingAdmissionPolicyBinding",
                "metadata": {"name": name},
                "spec": {
                    "policyName": name,
                    "validationActions": ["Deny"],
                    "matchResources": {
                        "namespaceSelector": {
                            "matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}
                        }
                    },
                },
            },
        ],
    }


def condition(resource: dict[str, Any], kind: str) -> dict[str, Any] | None:
    """Return a condition of a resource, or None."""
    conditions = resource.get("status", {}).get("conditions", [])
    return next((c for c in conditions if c["type"] == kind), None)


def wait_for(probe: Callable[[], bool], seconds: float, what: str) -> float:
    """Wait until the probe is true; return the seconds it took, fail after too many."""
    start = time.monotonic()
    while not probe():
        assert time.monotonic() - start < seconds, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.5)
    return time.monotonic() - start
