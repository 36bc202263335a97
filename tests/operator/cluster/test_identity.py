"""Who wrote what: as administrators see it, on a real API server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from job_messages import Messages
from light_cluster import Api, Resource

from mopt_operator.version import product_version

pytestmark = pytest.mark.cluster

OURS = "mopt-operator"


def managers(raw: dict[str, Any]) -> set[tuple[str, str]]:
    """Return who manages fields, and of which subresource."""
    fields = raw["metadata"]["managedFields"]
    return {(entry["manager"], entry.get("subresource", "")) for entry in fields}


def test_what_the_operator_writes_is_in_its_name(
    resource: Resource, messages: Messages, api: Api
) -> None:
    resource.run(messages)
    resource.wait_for(lambda: all("ttlSecondsAfterFinished" in j["spec"] for j in resource.jobs()))
    assert {name for name, part in managers(resource.read()) if part == "status"} == {OURS}
    for job in resource.jobs():
        assert {name for name, part in managers(job) if part != "status"} == {OURS}
    events = api.call("GET", f"/api/v1/namespaces/{resource.namespace}/events")["items"]
    ours = [event for event in events if event["source"].get("component") == OURS]
    assert len(ours) >= 4
    assert [managers(event) for event in ours] == [{(OURS, "")}] * len(ours)


def test_the_audit_log_names_it(resource: Resource, messages: Messages, cluster: Path) -> None:
    resource.run(messages)
    agents = set()
    for line in (cluster.parent / "audit.log").read_text().splitlines():
        entry = json.loads(line)
        if entry["user"]["username"] == "system:serviceaccount:kube-system:operator":
            agents.add((entry["userAgent"], entry["verb"]))
    assert {agent for agent, _ in agents} == {f"{OURS}/{product_version()}"}
    assert {"watch", "create", "update", "patch"} <= {verb for _, verb in agents}
