"""The Job by which the API server judges a profile's Pod template, in a dry run. Pure."""

from __future__ import annotations

from mopt_api.jobs.plan import DEFAULT_TARGET
from mopt_api.spec import ModelOptimizationSpec, Output, Target
from mopt_operator.config.settings import Settings
from mopt_operator.errors import Refused
from mopt_operator.objects import Raw, Resource

from .jobs import Manifest, build_job
from .work import measure_work

_SPEC = ModelOptimizationSpec.model_validate(
    {
        "model": {"uri": "s3://models/m.onnx", "sha256": "0" * 64, "format": "ONNX"},
        "inputs": [{"name": "x", "shape": [1]}],
    }
)
_OUTPUT = Output(uri="s3://optimized/m")
_PREPARED = f"sha256:{'0' * 64}"
_ANY_UID = "00000000-0000-0000-0000-000000000000"
# How the API server's validation begins; admission policies and webhooks begin otherwise.
_INVALID = 'Job.batch "'
LOST_DEVICES = (
    "resourceClaims: the API server leaves them out of Jobs; dynamic resource allocation takes "
    "Kubernetes 1.34 or newer"
)
_UNKNOWN_FIELD = "cannot be handled as a Job"


def trial_job(profile: str, settings: Settings, namespace: str) -> Manifest:
    """Return a Job that has a profile of the settings'; it is never created."""
    resource = Resource(
        namespace=namespace,
        name="profile",
        uid=_ANY_UID,
        generation=1,
        version="1",
        spec={},
        status={},
    )
    work = measure_work(
        _SPEC,
        _OUTPUT,
        settings,
        target=Target(name=DEFAULT_TARGET, profile=profile),
        prepared=_PREPARED,
    )
    return build_job(work, resource, settings)


def trial_namespace(settings: Settings) -> str:
    """Return where Jobs are tried: in the first watched namespace; where all are watched, in the
    one that the operator runs in, or in `default`."""
    home = settings.leader_election.namespace if settings.leader_election else "default"
    return settings.watch_namespaces[0] if settings.watch_namespaces else home


def loses_devices(manifest: Manifest, stored: Raw) -> bool:
    """Tell whether an API server without dynamic resource allocation left out, without a word,
    which devices a Job claims.

    Args:
        stored: The Job as it would be.
    """
    asked, kept = (job["spec"]["template"]["spec"] for job in (manifest, stored))
    return bool(asked.get("resourceClaims")) and not kept.get("resourceClaims")


def blames_profile(error: Refused) -> bool:
    """Tell whether the Job itself is invalid, and no quota, policy or webhook rejected it."""
    return error.message.startswith(_INVALID) or _UNKNOWN_FIELD in error.message
