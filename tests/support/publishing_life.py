"""What tests of publishing do to a world."""

from __future__ import annotations

from typing import Any

from job_messages import Messages
from operator_world import World

from mopt_api.jobs.plan import Stage
from mopt_api.reasons import REASONS, Reason
from mopt_operator.config.settings import Settings

REPOSITORY = "registry.test/team/sr"
OCI = {"repository": REPOSITORY, "tags": ["latest", "v1"]}
HOUR = 3600.0


def publish(**fields: object) -> dict[str, Any]:
    return {"oci": OCI | fields}


def finish(world: World, **outcome: Any) -> None:
    """Let the Job that publishes succeed."""
    world.complete(world.the_job(Stage.PUBLISH), Messages.publish(**outcome))
    world.settle()


def fail(world: World, reason: Reason = Reason.REGISTRY_UNREACHABLE) -> None:
    """Let the Job that publishes fail."""
    code = REASONS[reason].exit_code or 1
    message = Messages.error(reason, f"it says {reason}")
    world.fail(world.the_job(Stage.PUBLISH), message, exit_code=code)
    world.settle()


def published(world: World, target: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = world.status["targets"][target]["published"]
    return found


def publishing(world: World) -> list[dict[str, Any]]:
    """Return the Jobs that publish."""
    jobs = world.jobs.values()
    return [job for job in jobs if job["metadata"]["labels"]["mopt.dev/stage"] == "publish"]


def edit_what_makes_no_other_image(world: World, _: Settings) -> None:
    world.edit(execution={"ttlSecondsAfterFinished": 7})


def other_winner(world: World, _: Settings) -> None:
    world.edit(quality=[{"metric": "PSNR", "minimum": 100}])


def other_repository(world: World, _: Settings) -> None:
    world.edit(publish=publish(repository="registry.test/other"))


def is_refused(world: World, _: Messages) -> None:
    world.edit(targets=[{"name": "default", "profile": "none"}])
