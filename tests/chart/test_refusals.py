"""admission.refuseInvalid on a real API server: what the values make of a spec is said at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from chart_objects import Command, Manifest

pytestmark = pytest.mark.cluster


NAMESPACE, TEAM = "mopt-system", "team-a"
UPGRADE = ("upgrade", "mopt", "CHART", "--namespace", NAMESPACE)


@pytest.fixture
def said(
    release: Command,
    kubectl: Command,
    eventually: Callable[[Callable[[], bool], str], None],
    resource: Callable[[str, str], Manifest],
) -> Iterator[Callable[..., str]]:
    """Return a function that returns why a server dry run is refused; "" where it is not."""

    def run(**spec: object) -> str:
        manifest = resource("tried", TEAM)
        manifest["spec"] = {k: v for k, v in (manifest["spec"] | spec).items() if v is not None}
        create = ("create", "--dry-run=server", "--filename", "-")
        done = kubectl(*create, stdin=json.dumps(manifest), check=False)
        return done.stderr if done.returncode else ""

    # That of the test before may outlive it by some moments.
    eventually(lambda: run(output=None) == "", "no policy")
    options = ("profileObjects.enabled=false", "admission.refuseInvalid=true")
    release(*UPGRADE, *(word for option in options for word in ("--set", option)))
    # Some moments after it was created.
    eventually(lambda: run(output=None) != "", "the policy")
    yield run
    release(*UPGRADE, "--reset-values")


def test_dry_run_names_what_is_missing(said: Callable[..., str]) -> None:
    assert "spec.output is missing, and the administrator set no defaultOutput" in said(output=None)
    unknown = said(targets=[{"name": "a"}, {"name": "b", "profile": "no-such-profile"}])
    assert "spec.targets: no such profile; available profiles: default" in unknown
    assert said(targets=[{"name": "a"}, {"name": "b", "profile": "default"}]) == ""


def test_what_was_there_before_can_be_labelled(
    said: Callable[..., str],
    kubectl: Command,
    release: Command,
    eventually: Callable[[Callable[[], bool], str], None],
    resource: Callable[[str, str], Manifest],
) -> None:
    release(*UPGRADE, "--reset-values")
    eventually(lambda: said(output=None) == "", "the end of the policy")
    manifest = resource("before", TEAM)
    del manifest["spec"]["output"]
    kubectl("create", "--filename", "-", stdin=json.dumps(manifest))
    release(*UPGRADE, "--set", "admission.refuseInvalid=true")
    eventually(lambda: said(output=None) != "", "the policy")
    kubectl("label", "modeloptimization", "before", "-n", TEAM, "team=a")
    kubectl("delete", "modeloptimization", "before", "-n", TEAM)
