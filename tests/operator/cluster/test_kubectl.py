"""What a person and a GitOps tool see through the real kubectl."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from job_messages import Messages
from light_cluster import Json, Kubectl, Operator, Resource
from operator_world import MakeManifest

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize("flags", [(), ("--server-side",)], ids=["client", "server"])
def test_nothing_differs_after_apply_and_after_the_run(
    operator: Operator,
    existing_resource: Callable[[Json], Resource],
    resource_manifest: MakeManifest,
    messages: Messages,
    kubectl: Kubectl,
    flags: tuple[str, ...],
) -> None:
    name = f"diff-{'server' if flags else 'client'}"
    manifest = resource_manifest(
        name, targets=[{"name": "a", "resources": {"limits": {"cpu": 2, "memory": "2Gi"}}}]
    )
    manifest["metadata"]["namespace"] = "shared"
    text = json.dumps(manifest)
    kubectl("apply", *flags, "-f", "-", stdin=text)
    resource = existing_resource(manifest)
    # The operator's first word must not come in between the two looks of a diff.
    resource.wait_said(Ready=("Unknown", "Preparing"), Reconciling=("True", "Preparing"))
    # kubectl diff exits with 1 where there is a difference.
    kubectl("diff", *flags, "-f", "-", stdin=text)
    resource.finish(resource.pod_of("prepare"), messages.prepare())
    resource.finish(resource.pod_of("measure"), messages.measure("a"))
    kubectl("wait", "-n", "shared", f"mopt/{name}", "--for=condition=Ready", "--timeout=60s")
    kubectl("diff", *flags, "-f", "-", stdin=text)
    kubectl("apply", *flags, "-f", "-", stdin=text)
    assert resource.read()["metadata"]["generation"] == 1


def test_columns_fit_a_terminal(resource: Resource, messages: Messages, kubectl: Kubectl) -> None:
    resource.run(messages)
    table = kubectl("get", "mopt", "-n", resource.namespace, resource.name).stdout
    header, row = table.splitlines()
    titles = ["NAME", "READY", "SELECTED", "SPEEDUP", "QUALITY", "SIZE", "TARGETS", "STATUS", "AGE"]
    assert header.split() == titles
    assert "Optimized" in row
    # Without the name, whose length is the user's.
    assert len(header) - header.index("READY") <= 100


def test_explain_tells_of_fields_at_every_depth(kubectl: Kubectl) -> None:
    for field, words in (
        ("spec.execution.suspend", "Run no Jobs"),
        ("spec.targets.queueName", "Kueue LocalQueue"),
        ("status.history.artifact", "Digest of the file to serve"),
        ("status.targets.variants.quality.worst", "Value of the worst sample"),
    ):
        assert words in kubectl("explain", f"modeloptimization.{field}").stdout
