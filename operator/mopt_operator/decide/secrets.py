"""Which stores a Job reads: whose keys it gets, and which claims are mounted. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mopt_api.data import DataSource, EvaluationSource
from mopt_api.inputs import ModelSource
from mopt_api.jobs.anonymous import anonymous_roles
from mopt_api.jobs.plan import Credentials, Stage
from mopt_api.jobs.publishing import MODEL_AUTH_FILE
from mopt_api.pod_files import MODEL_REGISTRY
from mopt_api.spec import ModelOptimizationSpec, Output
from mopt_api.stores import OCI, claim_of, takes_credentials

# The key of a Secret of type kubernetes.io/dockerconfigjson.
_REGISTRY_KEY = ".dockerconfigjson"
# A further key of it: certificates of the registry's own authority, as store Secrets have them.
_REGISTRY_CA = "ca.crt"


@dataclass(frozen=True)
class SecretFile:
    """A key of a Secret that the kubelet mounts as a file, read-only.

    Attributes:
        name: Of the volume.
        beside: Another key, mounted under its own name beside it where the Secret has it.
    """

    name: str
    secret: str
    key: str
    path: str
    beside: str = ""

    @property
    def folder(self) -> str:
        return self.path.rpartition("/")[0]

    @property
    def file(self) -> str:
        return self.path.rpartition("/")[2]


def registry_login(volume: str, secret: str, path: str) -> SecretFile:
    """Return a registry's credentials as a file."""
    return SecretFile(volume, secret, _REGISTRY_KEY, path, _REGISTRY_CA)


def _sources(
    spec: ModelOptimizationSpec, stage: Stage
) -> dict[Credentials, ModelSource | DataSource]:
    """Return what a stage reads besides the output."""
    if stage is Stage.REPORT:
        return {}
    found: dict[Credentials, ModelSource | DataSource] = {Credentials.MODEL: spec.model}
    # Without calibration data preparing tries the model on that of evaluation.
    if stage is Stage.PREPARE and spec.data.calibration is not None:
        found[Credentials.CALIBRATION] = spec.data.calibration
    elif spec.data.evaluation is not None:
        found[Credentials.EVALUATION] = spec.data.evaluation
    return found


def uris_of(source: ModelSource | DataSource) -> list[str]:
    """Return the places that are read with the same credentials."""
    return source.uris if isinstance(source, EvaluationSource) else [source.uri]


def stage_secrets(
    spec: ModelOptimizationSpec, output: Output, stage: Stage
) -> dict[Credentials, str]:
    """Return the Secret of each role that a stage needs; the output's is the default."""
    fallback = output.credentials_secret_ref
    named = {
        role: source.credentials_secret_ref or fallback
        for role, source in _sources(spec, stage).items()
        if any(map(takes_credentials, uris_of(source)))
    }
    named[Credentials.OUTPUT] = fallback
    return {role: ref.name for role, ref in named.items() if ref is not None}


def stage_anonymous(spec: ModelOptimizationSpec, stage: Stage) -> tuple[Credentials, ...]:
    """Return the roles that a stage reads without keys."""
    read = _sources(spec, stage)
    return tuple(role for role in anonymous_roles(spec) if role in read)


def stage_claims(spec: ModelOptimizationSpec, output: Output, stage: Stage) -> tuple[str, ...]:
    """Return the claims that a stage reads from, and writes to."""
    read = [uri for source in _sources(spec, stage).values() for uri in uris_of(source)]
    return claims_of([*read, output.uri])


def stage_files(spec: ModelOptimizationSpec) -> tuple[SecretFile, ...]:
    """Return the credentials of the registry that the model is read from."""
    ref = spec.model.credentials_secret_ref
    if ref is None or not spec.model.uri.startswith(f"{OCI}://"):
        return ()
    return (registry_login(MODEL_REGISTRY, ref.name, MODEL_AUTH_FILE),)


def claims_of(uris: Iterable[str]) -> tuple[str, ...]:
    """Return the claims that uris lie in, each once."""
    return tuple(sorted({claim for uri in uris if (claim := claim_of(uri))}))
