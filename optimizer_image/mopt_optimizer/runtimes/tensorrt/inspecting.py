"""An engine's manifest, and whether it can run here. Needs neither TensorRT nor a GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import Field

from mopt_api.base import ObservedModel
from mopt_api.reasons import Reason
from mopt_optimizer.errors import OptimizerError
from mopt_optimizer.machine.nvidia_gpus import Gpu, visible_gpus

from .backends import Backend, find_backend
from .manifest import EngineManifest, check_bytes, check_gpu, check_version, read_manifest


class Obstacle(ObservedModel):
    """Why an engine does not run here."""

    reason: Reason
    message: str


class EngineInspection(ObservedModel):
    """An engine's manifest, checked against its file and this machine."""

    engine: str
    manifest: EngineManifest
    intact: bool = Field(description="Its size and digest are those of the manifest.")
    fits: bool = Field(description="It is intact, and this machine has what it needs.")
    obstacles: list[Obstacle] = []


def inspect_engine(
    path: Path,
    *,
    find: Callable[[str], Backend] = find_backend,
    gpus: Callable[[], Sequence[Gpu]] = visible_gpus,
) -> EngineInspection:
    """Inspect an engine without loading it.

    Args:
        find: Returns the backend of a name.
        gpus: Returns this machine's GPUs.

    Raises:
        DamagedEngine, UnusableEngine: As read_manifest.
    """
    manifest = read_manifest(path)
    name = path.name
    damage = _obstacles(lambda: check_bytes(path, manifest))
    lacking = _obstacles(
        lambda: check_version(name, manifest, find(manifest.backend)),
        lambda: check_gpu(name, manifest, gpus()),
    )
    return EngineInspection(
        engine=str(path),
        manifest=manifest,
        intact=not damage,
        fits=not damage and not lacking,
        obstacles=[*damage, *lacking],
    )


def _obstacles(*checks: Callable[[], None]) -> list[Obstacle]:
    """Return an obstacle for each check that fails."""
    found = []
    for check in checks:
        try:
            check()
        except OptimizerError as error:
            found.append(Obstacle(reason=error.reason, message=str(error)))
    return found
