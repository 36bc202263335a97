"""Files that the administrator puts into Jobs' Pods: ConfigMaps and keys of Secrets, read-only.

No other kind of volume: no token, no path of the node's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic.config import JsonDict

from .base import ApiModel, Rule, SecretName

MODEL_REGISTRY = "model-registry"
IDENTITY_VOLUME = "identity"
CLAIM_VOLUMES = "claim-"
"""How the volumes begin that hold what pvc:// names."""
_OWN_VOLUMES = frozenset({"tmp", "shm", "registry", "signing", MODEL_REGISTRY, IDENTITY_VOLUME})
_OWN_FOLDERS = (
    "/dev",
    "/opt/mopt",
    "/proc",
    "/run/secrets",
    "/run/mopt",
    "/sys",
    "/tmp",  # noqa: S108 - the Pod's own volume
    "/var/run/secrets",
)
# Where Secrets of the type kubernetes.io/service-account-token have the token.
_TOKEN = "token"  # noqa: S105 - the name of a key

BY_NAME: JsonDict = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
_ATOMIC: JsonDict = {"x-kubernetes-list-type": "atomic"}

ObjectKey = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]
FileName = Annotated[str, Field(max_length=253, pattern=r"^[-._a-zA-Z0-9]*[-_a-zA-Z0-9]$")]
VolumeName = Annotated[str, Field(max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]


def refuse_token(key: str) -> str:
    """Return the key of a Secret that Jobs may have.

    Raises:
        ValueError: It is where Kubernetes keeps a ServiceAccount's token.
    """
    if key == _TOKEN:
        raise ValueError(
            "token is where Kubernetes keeps a ServiceAccount's token, which Jobs never get: "
            "name the key otherwise"
        )
    return key


class KeyToPath(ApiModel):
    """A key, and the file that it becomes."""

    key: ObjectKey = Field(description="Of the ConfigMap or Secret.")
    path: FileName = Field(description="Name of the file.")


class ConfigMapVolume(ApiModel):
    """A ConfigMap in the resource's namespace."""

    name: SecretName = Field(description="Of the ConfigMap.")
    items: list[KeyToPath] | None = Field(
        default=None,
        max_length=32,
        description="Omitted, all of its keys.",
        json_schema_extra=_ATOMIC,
    )
    optional: bool = Field(default=False, description="Pods start without it too.")


class SecretVolume(ApiModel):
    """Keys of a Secret in the resource's namespace."""

    secret_name: SecretName = Field(description="Of the Secret.")
    items: list[KeyToPath] = Field(
        min_length=1, max_length=32, description="Never a token.", json_schema_extra=_ATOMIC
    )
    optional: bool = Field(default=False, description="Pods start without it too.")

    RULES = (
        Rule(
            "self.items.all(i, i.key != 'token')",
            "items: token is where Kubernetes keeps a ServiceAccount's token, which Jobs never get",
            lambda s: all(item.key != _TOKEN for item in s.items),
        ),
    )


class Volume(ApiModel):
    """A ConfigMap or Secret as files."""

    name: VolumeName = Field(description="By which it is mounted.")
    config_map: ConfigMapVolume | None = Field(
        default=None, description="A ConfigMap in the resource's namespace."
    )
    secret: SecretVolume | None = Field(
        default=None, description="Keys of a Secret in the resource's namespace."
    )

    RULES = (
        Rule(
            "has(self.configMap) != has(self.secret)",
            "a volume takes one of configMap and secret",
            lambda v: (v.config_map is None) != (v.secret is None),
        ),
        Rule(
            "!(self.name in ['tmp', 'shm', 'registry', 'signing', 'model-registry', 'identity'])",
            "tmp, shm, registry, signing, model-registry and identity are volumes that Jobs have",
            lambda v: v.name not in _OWN_VOLUMES,
        ),
        Rule(
            "!self.name.startsWith('claim-')",
            "volumes named claim-... are those of pvc:// places",
            lambda v: not v.name.startswith(CLAIM_VOLUMES),
        ),
    )


def _refuse_own_folder(path: str) -> str:
    for own in _OWN_FOLDERS:
        if path == own or path.startswith(f"{own}/") or own.startswith(f"{path}/"):
            raise ValueError(f"{path} would hide {own}, which Jobs need")
    return path


class VolumeMount(ApiModel):
    """Where a volume is, read-only."""

    name: VolumeName = Field(description="Of the volume.")
    mount_path: Annotated[
        str,
        Field(max_length=1024, pattern=r"^(/[-._a-zA-Z0-9]*[-_a-zA-Z0-9])+$"),
        AfterValidator(_refuse_own_folder),
    ] = Field(description="Folder, or with subPath file, in the container.")
    sub_path: FileName | None = Field(default=None, description="One file of the volume.")
    read_only: Literal[True] = Field(default=True, description="Always.")


ExtraVolumes = Annotated[list[Volume], Field(max_length=16, json_schema_extra=BY_NAME)]
ExtraVolumeMounts = Annotated[list[VolumeMount], Field(max_length=16, json_schema_extra=_ATOMIC)]


def all_there(mounts: Iterable[VolumeMount], volumes: Iterable[Volume]) -> bool:
    """Tell whether there is a volume for each mount."""
    return {mount.name for mount in mounts} <= {volume.name for volume in volumes}


MOUNTED_RULE = Rule(
    "self.extraVolumeMounts.all(m, self.extraVolumes.exists(v, v.name == m.name))",
    "extraVolumeMounts name a volume that extraVolumes do not have",
    lambda p: all_there(p.extra_volume_mounts, p.extra_volumes),
)
