"""Flux's kustomize-controller waits for a ModelOptimization: what it sees is what there is."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import yaml
from flux import Kustomization, MakeGit, MakeKustomization
from job_messages import Messages
from light_cluster import Json, Operator, Resource
from operator_world import MakeManifest

from mopt_api.reasons import REASONS, Reason

pytestmark = pytest.mark.gitops

PROGRESSING = {"Ready": ("Unknown", "Progressing"), "Reconciling": ("True", "Progressing")}


class Team:
    """A folder in Git with one resource, the Kustomization that applies it, and the resource."""

    def __init__(
        self,
        manifest: Json,
        make_git: MakeGit,
        make_kustomization: MakeKustomization,
        existing_resource: Callable[[Json], Resource],
    ) -> None:
        self._manifest = copy.deepcopy(manifest)
        namespace, name = (manifest["metadata"][key] for key in ("namespace", "name"))
        self._git = make_git(namespace, name)
        self.revision = self._push()
        source = {"kind": "ExternalArtifact", "name": self._git.name}
        self.kustomization: Kustomization = make_kustomization(namespace, source)
        self.resource = existing_resource(manifest)

    def _push(self) -> str:
        return self._git.push({"resource.yaml": yaml.safe_dump(self._manifest)})

    def edit(self, **spec: object) -> None:
        """Commit other fields of the resource's spec."""
        self._manifest["spec"] |= spec
        self.revision = self._push()

    def wait_until_applied(self) -> None:
        """Wait until the resource is there, and waited for."""
        self.kustomization.wait(self.is_waited_for)

    def is_waited_for(self) -> bool:
        """Tell whether Flux waits for the resource."""
        return self.kustomization.said().items() >= PROGRESSING.items() and (
            self.kustomization.message("Reconciling").startswith("Running health checks")
        )


@pytest.fixture
def team(
    operator: Operator,
    resource_manifest: MakeManifest,
    make_git: MakeGit,
    make_kustomization: MakeKustomization,
    existing_resource: Callable[[Json], Resource],
    request: pytest.FixtureRequest,
) -> Team:
    """Return a resource in a namespace that the shared operator serves, applied by Flux."""
    name = request.node.name.replace("test_", "", 1).replace("_", "-")[:50].strip("-")
    manifest = resource_manifest(f"flux-{name}")
    manifest["metadata"]["namespace"] = "shared"
    return Team(manifest, make_git, make_kustomization, existing_resource)


def test_progressing_while_it_runs_and_ready_with_it(team: Team, messages: Messages) -> None:
    team.wait_until_applied()
    prepare = team.resource.pod_of("prepare")
    assert team.is_waited_for()
    team.resource.finish(prepare, messages.prepare())
    measure = team.resource.pod_of("measure")
    assert team.is_waited_for()
    team.resource.finish(measure, messages.measure())
    team.kustomization.wait_applied(team.revision)
    assert team.resource.said() == {"Ready": ("True", "Optimized")}


def test_failed_at_once_where_it_is_stalled(team: Team, messages: Messages) -> None:
    team.wait_until_applied()
    told = messages.error(Reason.INVALID_MODEL, "model.pt2 is cut off at byte 4096")
    code = REASONS[Reason.INVALID_MODEL].exit_code
    assert code is not None
    team.resource.finish(team.resource.pod_of("prepare"), told, exit_code=code)
    team.kustomization.wait(
        lambda: team.kustomization.said().get("Ready") == ("False", "HealthCheckFailed")
    )
    assert "stalled" in team.kustomization.message()
    assert team.resource.said()["Stalled"] == ("True", "InvalidModel")


def test_suspended_with_an_artifact_holds_nothing_up(team: Team, messages: Messages) -> None:
    team.wait_until_applied()
    team.resource.run(messages)
    team.kustomization.wait_applied(team.revision)
    # Another measurement is asked for, and may not be made.
    team.edit(execution={"suspend": True}, benchmark={"warmupSeconds": 1})
    team.kustomization.wait_applied(team.revision)
    assert team.resource.said() == {"Ready": ("True", "Suspended")}
    assert team.resource.read()["metadata"]["generation"] == 2


def test_changed_gates_are_waited_for_and_applied(team: Team, messages: Messages) -> None:
    team.wait_until_applied()
    team.resource.run(messages)
    team.kustomization.wait_applied(team.revision)
    team.edit(quality=[{"metric": "PSNR", "minimum": 39}])
    team.kustomization.wait_applied(team.revision)
    (target,) = team.resource.read()["status"]["targets"]
    assert target["selected"] == "onnxruntime-int8"
