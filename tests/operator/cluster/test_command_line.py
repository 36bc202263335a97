"""`mopt pin`, `mopt rollback` and what `mopt gc` reads, on a real API server."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import selected
from cli_process import clean_environ
from light_cluster import Api, MakeNamespace, MakeResource, Resource

from mopt_cli import cluster as client
from mopt_cli._errors import CliError
from mopt_cli.access import Access
from mopt_cli.garbage.live import Live, named_by
from mopt_cli.looking import add_everywhere

pytestmark = pytest.mark.cluster

SERVICE = "spec:\n  storageUri: 's3://old'  # by mopt pin\n"


def set_status(api: Api, resource: Resource, number: int) -> None:
    """Let a resource serve a form, published, after another one."""
    target = selected.target(
        artifact=selected.artifact(number), published=selected.published(number)
    )
    history = [selected.record(number), selected.record(number - 1)]
    status = {"observedGeneration": 1, "targets": [target], "history": history}
    path = f"{api.path(resource.manifest)}/status"
    api.call("PATCH", path, {"status": status}, "merge-patch+json")


@pytest.fixture
def served(api: Api, make_namespace: MakeNamespace, make_resource: MakeResource) -> list[Resource]:
    """Three resources in namespaces that no operator watches; the first serves form 11."""
    found = []
    for number in (11, 13, 15):
        found.append(make_resource(namespace=make_namespace()))
        set_status(api, found[-1], number)
    return found


def test_what_status_says_is_pinned_and_what_it_said_before(
    cluster: Path, served: list[Resource], tmp_path: Path
) -> None:
    file = tmp_path / "service.yaml"
    file.write_text(SERVICE)

    def mopt(*arguments: str) -> subprocess.CompletedProcess[str]:
        where = ("-n", served[0].namespace, "--kubeconfig", str(cluster))
        return subprocess.run(
            [sys.executable, "-m", "mopt_cli.main", *arguments, *where],
            env=clean_environ(),
            capture_output=True,
            text=True,
            check=False,
        )

    place = ("--file", str(file), "--path", ".spec.storageUri")
    assert mopt("pin", served[0].name, *place, "--check").returncode == 1
    done = mopt("pin", served[0].name, *place)
    assert done.returncode == 0, done.stderr
    reference = selected.published(11)["reference"]
    assert file.read_text() == SERVICE.replace("s3://old", reference)
    assert mopt("pin", served[0].name, *place, "--check").returncode == 0
    before = mopt("rollback", served[0].name, "-o", "json")
    assert json.loads(before.stdout) == selected.record(10)
    written = served[0].read()["metadata"]["managedFields"]
    assert mopt("rollback", served[0].name, *place).returncode == 0
    assert file.read_text() == SERVICE.replace("s3://old", selected.record(10)["published"])
    assert served[0].read()["metadata"]["managedFields"] == written


def read_live(access: Access) -> Live:
    live = Live()
    asyncio.run(add_everywhere(access, lambda raw: live.add(raw, selected.OUTPUT, None)))
    return live


def test_the_resources_of_all_namespaces_are_read_page_after_page(
    cluster: Path, served: list[Resource], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_PAGE", 2)
    live = read_live(Access(cluster))
    assert live.resources >= len(served)
    for resource in served:
        raw: dict[str, Any] = resource.read()
        assert named_by(raw, None) <= live.roots
        assert f"{resource.namespace}/{resource.name}" not in live.working


def test_who_may_read_one_namespace_alone_sweeps_nothing(
    api: Api,
    account_kubeconfig: Callable[[str, str], Path],
    served: list[Resource],
) -> None:
    namespace = served[0].namespace
    with pytest.raises(CliError, match=r"refuses the request.*cannot list"):
        read_live(Access(account_kubeconfig(namespace, "default")))
