"""deploy/argocd/health.lua, run by Argo CD's own command line on what the operator reports."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from job_messages import Messages
from operator_world import World, manifest

from devcluster.resolving import binary
from mopt_api.jobs.plan import Stage
from mopt_api.reasons import REASONS, Reason
from mopt_operator.config.settings import Settings

pytestmark = pytest.mark.gitops

ROOT = Path(__file__).resolve().parents[2]
KEY = "resource.customizations.health.mopt.dev_ModelOptimization"
Json = dict[str, Any]
Health = Callable[[World], tuple[str, str]]


@pytest.fixture(scope="module")
def config_map(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return argocd-cm as the command of deploy/argocd/README.md makes it."""
    kubectl = str(binary("kubectl"))
    text = subprocess.run(
        [
            *(kubectl, "create", "configmap", "argocd-cm", "--dry-run=client", "-o", "yaml"),
            f"--from-file={KEY}={ROOT / 'deploy' / 'argocd' / 'health.lua'}",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    file = tmp_path_factory.mktemp("argocd") / "argocd-cm.yaml"
    file.write_text(text)
    return file


@pytest.fixture
def health(config_map: Path, tmp_path: Path) -> Health:
    """Return a function that asks Argo CD for a resource's health and message."""
    argocd = str(binary("argocd"))

    def ask(world: World) -> tuple[str, str]:
        file = tmp_path / "object.json"
        file.write_text(json.dumps(world.raw))
        command = [argocd, "admin", "settings", "resource-overrides", "health", str(file)]
        done = subprocess.run(
            [*command, "--argocd-cm-path", str(config_map)],
            env=os.environ | {"ARGOCD_BINARY_NAME": "argocd"},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        # It ends with 0 whatever the health is.
        said = dict(line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line)
        return said["STATUS"], said["MESSAGE"]

    return ask


def _world(**spec: object) -> World:
    return World(Settings(optimizer_image="mopt/optimizer:test"), manifest("sr", **spec))


def _new() -> World:
    return _world()


def _without_status() -> World:
    world = _world()
    del world.raw["status"]
    return world


def _preparing() -> World:
    world = _world()
    world.settle()
    return world


def _measuring() -> World:
    world = _preparing()
    world.complete(world.the_job(Stage.PREPARE), Messages.prepare())
    world.settle()
    return world


def _ready() -> World:
    world = _world()
    world.run()
    return world


def _stalled() -> World:
    world = _preparing()
    job = world.the_job(Stage.PREPARE)
    told = Messages.error(Reason.INVALID_MODEL, "model.pt2 is cut off at byte 4096")
    code = REASONS[Reason.INVALID_MODEL].exit_code
    assert code is not None
    world.terminated_pod(job, told, exit_code=code)
    world.end(job, "Failed", "PodFailurePolicy")
    world.settle()
    return world


def _outdated() -> World:
    world = _ready()
    world.settings = world.settings.model_copy(update={"optimizer_image": "mopt/optimizer:newer"})
    world.settle()
    return world


def _suspended() -> World:
    world = _world(execution={"suspend": True})
    world.settle()
    return world


def _suspended_with_artifact() -> World:
    world = _ready()
    world.lose_all_jobs()
    world.edit(execution={"suspend": True}, benchmark={"warmupSeconds": 1})
    world.settle()
    assert world.said() == {"Ready": ("True", "Suspended")}
    return world


def _edited() -> World:
    world = _ready()
    world.edit(quality=[{"metric": "PSNR", "minimum": 39}])
    return world


def _withdrawn() -> World:
    world = _ready()
    world.edit(quality=[{"metric": "PSNR", "minimum": 150}], objective={"onNoWinner": "Fail"})
    world.settle()
    return world


def _not_published() -> World:
    world = _ready()
    condition = {
        "type": "Published",
        "status": "False",
        "reason": "RegistryUnreachable",
        "message": "registry.example does not answer",
        "observedGeneration": 1,
        "lastTransitionTime": "2026-11-01T12:00:00Z",
    }
    world.status["conditions"].append(condition)
    return world


@pytest.mark.parametrize(
    ("make", "status", "message"),
    [
        pytest.param(_without_status, "Progressing", "has not seen this spec", id="no status"),
        pytest.param(_new, "Progressing", "has not seen this spec", id="new"),
        pytest.param(_preparing, "Progressing", "Preparing: ", id="preparing"),
        pytest.param(_measuring, "Progressing", "Measuring: ", id="measuring"),
        pytest.param(_ready, "Healthy", "Optimized: ", id="ready"),
        pytest.param(_stalled, "Degraded", "InvalidModel: model.pt2 is cut off", id="stalled"),
        pytest.param(_outdated, "Healthy", "(Outdated=True, OlderOptimizer: ", id="outdated"),
        pytest.param(
            _withdrawn, "Degraded", "(ArtifactAvailable=False, Withdrawn: ", id="withdrawn"
        ),
        pytest.param(_suspended, "Suspended", "Suspended: ", id="suspended"),
        pytest.param(
            _suspended_with_artifact, "Healthy", "Suspended: ", id="suspended with an artifact"
        ),
        pytest.param(_edited, "Progressing", "has not seen this spec", id="generation behind"),
        pytest.param(
            _not_published,
            "Healthy",
            "(Published=False, RegistryUnreachable: registry.example does not answer)",
            id="publishing failed",
        ),
    ],
)
def test_argo_cd_sees(health: Health, make: Callable[[], World], status: str, message: str) -> None:
    found, text = health(make())
    assert found == status
    assert message in text


def test_object_of_another_kind_is_left_to_argo_cd(health: Health) -> None:
    """The script is found by its key: an object of another kind does not reach it."""
    world = _stalled()
    world.raw["kind"] = "Other"
    with pytest.raises(KeyError, match="STATUS"):
        health(world)
