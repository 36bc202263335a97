"""What the administrator decides about the Pods of all Jobs: user, variables, files. Pure.

Whatever it says, the Pods stay restricted (Pod Security) and get no Kubernetes credentials: it
lists what may be added, and nothing else of a Pod is said here.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from mopt_api.base import ApiModel, Rule, SecretName
from mopt_api.pod_files import (
    MOUNTED_RULE,
    ExtraVolumeMounts,
    ExtraVolumes,
    ObjectKey,
    refuse_token,
)

from .store_identity import StoreIdentity

DEFAULT_USER = 65532  # The image's; the volumes belong to its group.

UserId = Annotated[int, Field(ge=1, le=2**31 - 1)]
GroupId = Annotated[int, Field(ge=0, le=2**31 - 1)]

# Of a Job's own, and what changes how its programs are found and run, which GPUs they see, whom
# they take for the API server, or whose keys they use where a resource names none.
_OWN_VARIABLES = frozenset(
    {"HOME", "TMPDIR", "USER", "PATH", "XDG_CACHE_HOME", "TORCH_HOME", "TORCHINDUCTOR_CACHE_DIR"}
)
_OWN_PREFIXES = ("MOPT_", "AWS_", "LD_", "PYTHON", "NVIDIA_", "KUBE")


class PodUser(ApiModel):
    """Whom containers run as; None leaves it to the cluster's admission, else to the image."""

    run_as_user: UserId | None = Field(default=DEFAULT_USER, description="Never root.")
    run_as_group: GroupId | None = DEFAULT_USER
    fs_group: GroupId | None = Field(
        default=DEFAULT_USER, description="Group that the volumes belong to."
    )
    supplemental_groups: Annotated[list[GroupId], Field(max_length=16)] | None = None


class ConfigMapKeyRef(ApiModel):
    """A key of a ConfigMap in the resource's namespace."""

    name: SecretName
    key: ObjectKey
    optional: bool = False


class SecretKeyRef(ApiModel):
    """A key of a Secret in the resource's namespace."""

    name: SecretName
    key: Annotated[ObjectKey, AfterValidator(refuse_token)]
    optional: bool = False


class ValueSource(ApiModel):
    """Where a variable's value comes from."""

    config_map_key_ref: ConfigMapKeyRef | None = None
    secret_key_ref: SecretKeyRef | None = None

    RULES = (
        Rule(
            "has(self.configMapKeyRef) != has(self.secretKeyRef)",
            "valueFrom takes one of configMapKeyRef and secretKeyRef",
            lambda s: (s.config_map_key_ref is None) != (s.secret_key_ref is None),
        ),
    )


def _refuse_own_variable(name: str) -> str:
    if name in _OWN_VARIABLES or name.startswith(_OWN_PREFIXES):
        raise ValueError(f"{name} is not to be set: Jobs depend on it")
    return name


class EnvVar(ApiModel):
    """A variable, as in a Pod."""

    name: Annotated[
        str,
        Field(max_length=253, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$"),
        AfterValidator(_refuse_own_variable),
    ]
    value: Annotated[str, Field(max_length=4096)] | None = None
    value_from: ValueSource | None = None

    RULES = (
        Rule(
            "has(self.value) != has(self.valueFrom)",
            "a variable takes one of value and valueFrom",
            lambda v: (v.value is None) != (v.value_from is None),
        ),
    )


class JobPods(ApiModel):
    """What all Jobs' Pods have, whatever their profile."""

    pod_security_context: PodUser = PodUser()
    extra_env: list[EnvVar] = Field(
        default=[], max_length=64, json_schema_extra={"x-kubernetes-list-map-keys": ["name"]}
    )
    extra_volumes: ExtraVolumes = Field(
        default=[], description="ConfigMaps and keys of Secrets, as files."
    )
    extra_volume_mounts: ExtraVolumeMounts = Field(default=[], description="Where these are.")
    store_identity: StoreIdentity | None = Field(
        default=None, description="Whose keys are used where a resource names no Secret."
    )

    RULES = (MOUNTED_RULE,)
