"""What the administrator decides about the Pods of all Jobs: user, variables, files. Pure.

Whatever it says, the Pods stay restricted (Pod Security) and get no Kubernetes credentials: it
lists what may be added, and nothing else of a Pod is said here.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from mopt_api.base import ApiModel, Rule, SecretName

DEFAULT_USER = 65532  # The image's; the volumes belong to its group.

UserId = Annotated[int, Field(ge=1, le=2**31 - 1)]
GroupId = Annotated[int, Field(ge=0, le=2**31 - 1)]
SecretKey = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]
FileName = Annotated[str, Field(max_length=253, pattern=r"^[-._a-zA-Z0-9]*[-_a-zA-Z0-9]$")]
VolumeName = Annotated[str, Field(max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]

# Of a Job's own, and what changes how its programs are found and run, which GPUs they see, whom
# they take for the API server, or whose keys they use where a resource names none.
_OWN_VARIABLES = frozenset(
    {"HOME", "TMPDIR", "USER", "PATH", "XDG_CACHE_HOME", "TORCH_HOME", "TORCHINDUCTOR_CACHE_DIR"}
)
_OWN_PREFIXES = ("MOPT_", "AWS_", "LD_", "PYTHON", "NVIDIA_", "KUBE")
_OWN_VOLUMES = frozenset({"tmp", "shm", "registry", "signing"})
_OWN_FOLDERS = (
    "/dev",
    "/opt/mopt",
    "/proc",
    "/run/secrets",
    "/sys",
    "/tmp",  # noqa: S108 - the Pod's own volume
    "/var/run/secrets",
)
# Where Secrets of the type kubernetes.io/service-account-token have the token.
_TOKEN = "token"  # noqa: S105 - the name of a key


class PodUser(ApiModel):
    """Whom containers run as; None leaves it to the cluster's admission, else to the image."""

    run_as_user: UserId | None = Field(default=DEFAULT_USER, description="Never root.")
    run_as_group: GroupId | None = DEFAULT_USER
    fs_group: GroupId | None = Field(
        default=DEFAULT_USER, description="Group that the volumes belong to."
    )
    supplemental_groups: Annotated[list[GroupId], Field(max_length=16)] | None = None


def _refuse_token(key: str) -> str:
    if key == _TOKEN:
        raise ValueError(
            "token is where Kubernetes keeps a ServiceAccount's token, which Jobs never get: "
            "name the key otherwise"
        )
    return key


class ConfigMapKeyRef(ApiModel):
    """A key of a ConfigMap in the resource's namespace."""

    name: SecretName
    key: SecretKey
    optional: bool = False


class SecretKeyRef(ApiModel):
    """A key of a Secret in the resource's namespace."""

    name: SecretName
    key: Annotated[SecretKey, AfterValidator(_refuse_token)]
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


class KeyToPath(ApiModel):
    """A key, and the file that it becomes."""

    key: SecretKey
    path: FileName


class ConfigMapVolume(ApiModel):
    """A ConfigMap in the resource's namespace."""

    name: SecretName
    items: list[KeyToPath] | None = Field(default=None, description="None: all of its keys.")
    optional: bool = False


class SecretVolume(ApiModel):
    """Keys of a Secret in the resource's namespace."""

    secret_name: SecretName
    items: list[KeyToPath] = Field(min_length=1, description="Never a token.")
    optional: bool = False

    RULES = (
        Rule(
            "self.items.all(i, i.key != 'token')",
            "items: token is where Kubernetes keeps a ServiceAccount's token, which Jobs never get",
            lambda s: all(item.key != _TOKEN for item in s.items),
        ),
    )


class Volume(ApiModel):
    """A ConfigMap or Secret as files. No other kind: no token, no path of the node's."""

    name: VolumeName
    config_map: ConfigMapVolume | None = None
    secret: SecretVolume | None = None

    RULES = (
        Rule(
            "has(self.configMap) != has(self.secret)",
            "a volume takes one of configMap and secret",
            lambda v: (v.config_map is None) != (v.secret is None),
        ),
        Rule(
            "!(self.name in ['tmp', 'shm', 'registry', 'signing'])",
            "tmp, shm, registry and signing are volumes that Jobs have",
            lambda v: v.name not in _OWN_VOLUMES,
        ),
    )


def _refuse_own_folder(path: str) -> str:
    for own in _OWN_FOLDERS:
        if path == own or path.startswith(f"{own}/") or own.startswith(f"{path}/"):
            raise ValueError(f"{path} would hide {own}, which Jobs need")
    return path


class VolumeMount(ApiModel):
    """Where a volume is, read-only."""

    name: VolumeName
    mount_path: Annotated[
        str,
        Field(max_length=1024, pattern=r"^(/[-._a-zA-Z0-9]*[-_a-zA-Z0-9])+$"),
        AfterValidator(_refuse_own_folder),
    ]
    sub_path: FileName | None = None
    read_only: Literal[True] = True


class JobPods(ApiModel):
    """What all Jobs' Pods have, whatever their profile."""

    pod_security_context: PodUser = PodUser()
    extra_env: list[EnvVar] = Field(
        default=[], max_length=64, json_schema_extra={"x-kubernetes-list-map-keys": ["name"]}
    )
    extra_volumes: list[Volume] = Field(
        default=[], max_length=16, json_schema_extra={"x-kubernetes-list-map-keys": ["name"]}
    )
    extra_volume_mounts: list[VolumeMount] = Field(default=[], max_length=16)

    RULES = (
        Rule(
            "self.extraVolumeMounts.all(m, self.extraVolumes.exists(v, v.name == m.name))",
            "extraVolumeMounts name a volume that extraVolumes do not have",
            lambda p: {m.name for m in p.extra_volume_mounts} <= {v.name for v in p.extra_volumes},
        ),
    )
