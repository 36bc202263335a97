"""`from mopt_cli import Client` on a real API server, with a real operator behind it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from job_messages import Messages
from light_cluster import Api, Json, Kubectl, MakeNamespace, Operator, Resource
from operator_world import MakeManifest

from mopt_cli import Client, CliError, Conflict, Forbidden, NotFound

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def client(operator: Operator, cluster: Path) -> Client:
    return Client("shared", kubeconfig=cluster)


def manifest_of(make: MakeManifest, name: str, **spec: object) -> Json:
    manifest = make(name, **spec)
    manifest["metadata"]["namespace"] = "shared"
    return manifest


def test_apply_creates_changes_and_waits_for_the_end(
    client: Client,
    resource_manifest: MakeManifest,
    existing_resource: Callable[[Json], Resource],
    messages: Messages,
    tmp_path: Path,
) -> None:
    manifest = manifest_of(resource_manifest, "client-applies")
    made = client.apply(manifest)
    assert (made.raw["metadata"]["generation"], made.ready) == (1, False)
    # Again, from a file: nothing changes.
    file = tmp_path / "resource.yaml"
    file.write_text(json.dumps(manifest))
    assert client.apply(file).raw["metadata"]["generation"] == 1
    resource = existing_resource(manifest)
    kubelet = threading.Thread(target=resource.run, args=(messages,))
    kubelet.start()
    try:
        done = client.wait("client-applies", timeout=60)
    finally:
        kubelet.join()
    assert done.ready
    assert done.target().selected == "openvino-bf16"
    # The gates changed: what was measured is judged again, so it is not ready for this spec.
    manifest["spec"]["quality"] = [{"metric": "PSNR", "minimum": 41}]
    changed = client.apply(manifest)
    assert (changed.raw["metadata"]["generation"], changed.ready) == (2, False)
    resource.delete()


def test_a_field_that_kubectl_owns_is_taken_over_by_force_alone(
    client: Client, resource_manifest: MakeManifest, kubectl: Kubectl
) -> None:
    manifest = manifest_of(resource_manifest, "client-conflicts")
    kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    manifest["spec"]["quality"] = [{"metric": "PSNR", "minimum": 30}]
    with pytest.raises(Conflict, match=r"conflict with .*kubectl.*change it where its owner"):
        client.apply(manifest)
    assert client.apply(manifest, force=True).raw["spec"]["quality"][0]["minimum"] == 30
    kubectl("delete", "mopt", "-n", "shared", "client-conflicts")


def test_what_the_rules_refuse_is_one_line(client: Client, resource_manifest: MakeManifest) -> None:
    manifest = manifest_of(resource_manifest, "client-invalid", dimensions={})
    with pytest.raises(CliError, match="every name in an input's shape must be declared"):
        client.apply(manifest)


def test_a_namespace_that_is_not_there_is_told(
    operator: Operator, cluster: Path, resource_manifest: MakeManifest
) -> None:
    manifest = resource_manifest("nowhere")
    manifest["metadata"]["namespace"] = "nowhere"
    with pytest.raises(NotFound, match="no namespace nowhere: make it with kubectl create"):
        Client(kubeconfig=cluster).apply(manifest)


def test_a_new_run_is_asked_for(client: Client, resource: Resource, messages: Messages) -> None:
    resource.run(messages)
    first = {job["metadata"]["name"] for job in resource.jobs()}
    asked = client.rerun(resource.name, datetime(2026, 11, 30, 12, 0, 0, 1, UTC))
    stamp = "2026-11-30T12:00:00.000001Z"
    assert asked.raw["metadata"]["annotations"]["mopt.dev/requestedAt"] == stamp
    assert not asked.ready
    resource.pod_of("prepare")
    assert {job["metadata"]["name"] for job in resource.jobs()} - first
    # Status is written after the Job.
    resource.wait_for(lambda: resource.read()["status"].get("lastHandledReconcileAt") == stamp)


def test_jobs_end_while_it_is_suspended(
    client: Client, resource: Resource, messages: Messages
) -> None:
    resource.pod_of("prepare")
    assert client.suspend(resource.name).suspended
    stopped = client.wait(resource.name, timeout=60)
    assert stopped.suspended
    assert "Suspended" in stopped.message
    resource.wait_for(lambda: resource.jobs() == resource.pods() == [])
    assert not client.resume(resource.name).suspended
    resource.run(messages)
    assert client.get(resource.name).ready


def test_names_that_are_not_there_are_told_with_those_that_are(
    client: Client, resource: Resource
) -> None:
    near = resource.name[:-1]
    calls: list[Callable[[str], object]] = [client.get, client.rerun, client.suspend, client.wait]
    for ask in calls:
        with pytest.raises(NotFound, match=f"did you mean .*{resource.name}"):
            ask(near)


def documented_roles() -> dict[str, Json]:
    """Return the Roles in docs/cli.md, by name."""
    text = (ROOT / "docs" / "cli.md").read_text()
    block = text.partition("## Permissions")[2].partition("```yaml\n")[2].partition("```")[0]
    return {role["metadata"]["name"]: role for role in yaml.safe_load_all(block)}


@pytest.fixture
def as_role(
    api: Api,
    resource: Resource,
    make_namespace: MakeNamespace,
    account_kubeconfig: Callable[[str, str], Path],
) -> Callable[[str], Client]:
    """Return what makes a client that has a documented Role in the resource's namespace."""

    def make(name: str) -> Client:
        home = make_namespace()
        root = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{resource.namespace}"
        role = documented_roles()[name] | {"metadata": {"name": home}}
        reference = {"kind": "Role", "name": home, "apiGroup": "rbac.authorization.k8s.io"}
        subject = {"kind": "ServiceAccount", "name": "default", "namespace": home}
        binding = {"metadata": {"name": home}, "roleRef": reference, "subjects": [subject]}
        api.call("POST", f"{root}/roles", role)
        api.call("POST", f"{root}/rolebindings", binding)
        return Client(resource.namespace, kubeconfig=account_kubeconfig(home, "default"))

    return make


def test_who_may_read_sees_all_and_changes_nothing(
    resource: Resource, as_role: Callable[[str], Client]
) -> None:
    reader = as_role("mopt-reader")
    resource.wait_for(resource.events)
    assert reader.events(reader.get(resource.name))
    changes: list[Callable[[str], object]] = [reader.rerun, reader.suspend, reader.resume]
    for change in changes:
        with pytest.raises(Forbidden, match=r"cannot patch .*; ask for this right"):
            change(resource.name)
    with pytest.raises(Forbidden, match="cannot patch"):
        reader.apply(resource.manifest)
    with pytest.raises(Forbidden, match=r"cannot list .* at the cluster scope"):
        reader.resources(everywhere=True)


def test_who_may_edit_steers_and_waits(
    resource: Resource, as_role: Callable[[str], Client]
) -> None:
    editor = as_role("mopt-editor")
    resource.pod_of("prepare")
    editor.suspend(resource.name)
    assert editor.wait(resource.name, timeout=60).suspended
    editor.resume(resource.name)
    editor.rerun(resource.name)
    editor.apply(resource.manifest, force=True)
    with pytest.raises(Forbidden, match=r"cannot list .*events"):
        editor.events(editor.get(resource.name))
