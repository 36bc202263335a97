"""The volumes of a Job's Pod, and where its container has them. Pure."""

from __future__ import annotations

from mopt_api.jobs.plan import Credentials
from mopt_api.pod_files import CLAIM_VOLUMES, IDENTITY_VOLUME
from mopt_api.stores import CLAIMS_FOLDER
from mopt_operator.config.settings import Settings
from mopt_operator.config.store_identity import StoreIdentity
from mopt_operator.objects import Json

from .secrets import SecretFile
from .work import WorkItem

Manifest = Json

SHARED_MEMORY = "256Mi"
IDENTITY_FOLDER = "/var/run/secrets/mopt.dev/identity"
_TOKEN = "token"  # noqa: S105 - a file's name


def volumes(work: WorkItem, settings: Settings) -> list[Manifest]:
    """Return the Pod's volumes: its own, the stores', the administrator's for all Jobs, and those
    of its profile."""
    return [
        {"name": "tmp", "emptyDir": {"sizeLimit": str(work.profile.scratch_size)}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": SHARED_MEMORY}},
        *(_secret_volume(file, settings) for file in work.files),
        *_identity_volumes(work, settings),
        # Read-only as a volume too: else the kubelet makes all of its files the Pod's group's.
        *(
            {
                "name": name,
                "persistentVolumeClaim": {"claimName": claim} | _read_only(work, claim),
            }
            for name, claim in _claim_volumes(work)
        ),
        *(volume.to_api() for volume in settings.jobs.extra_volumes),
        *(volume.to_api() for volume in work.profile.extra_volumes),
    ]


def mounts(work: WorkItem, settings: Settings) -> list[Manifest]:
    """Return where the container has them."""
    return [
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
        {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108
        *({"name": file.name, "mountPath": file.folder, "readOnly": True} for file in work.files),
        *(
            [{"name": IDENTITY_VOLUME, "mountPath": IDENTITY_FOLDER, "readOnly": True}]
            if _identity(work, settings)
            else []
        ),
        *(
            {"name": name, "mountPath": f"{CLAIMS_FOLDER}/{claim}"} | _read_only(work, claim)
            for name, claim in _claim_volumes(work)
        ),
        *(mount.to_api() for mount in settings.jobs.extra_volume_mounts),
        *(mount.to_api() for mount in work.profile.extra_volume_mounts),
    ]


def identity_variables(work: WorkItem, settings: Settings) -> dict[str, str]:
    """Return what tells the container whose keys it uses where no Secret is named."""
    identity = _identity(work, settings)
    return identity.variables(f"{IDENTITY_FOLDER}/{_TOKEN}") if identity else {}


def ownership(work: WorkItem, settings: Settings) -> Manifest:
    """Return how the group gets a claim that is written: not file by file where it has it."""
    if work.written_claim is None or settings.jobs.pod_security_context.fs_group is None:
        return {}
    return {"fsGroupChangePolicy": "OnRootMismatch"}


def _identity(work: WorkItem, settings: Settings) -> StoreIdentity | None:
    """Return the identity that takes the place of keys: wherever the output names no Secret, whose
    keys are the other stores' default."""
    return None if Credentials.OUTPUT in work.secrets else settings.jobs.store_identity


def _identity_volumes(work: WorkItem, settings: Settings) -> list[Manifest]:
    """Return the volume of a token that is for the store's service alone."""
    identity = _identity(work, settings)
    if identity is None:
        return []
    token = {
        "audience": identity.audience,
        "expirationSeconds": identity.expiration_seconds,
        "path": _TOKEN,
    }
    sources = [{"serviceAccountToken": token}]
    return [{"name": IDENTITY_VOLUME, "projected": {"sources": sources}}]


def _claim_volumes(work: WorkItem) -> list[tuple[str, str]]:
    """Return the name of each claim's volume, and the claim: its name may be no volume's."""
    return [(f"{CLAIM_VOLUMES}{number}", claim) for number, claim in enumerate(work.claims)]


def _read_only(work: WorkItem, claim: str) -> Manifest:
    return {} if claim == work.written_claim else {"readOnly": True}


def _secret_volume(file: SecretFile, settings: Settings) -> Manifest:
    """Return the volume of a Secret's keys; the Pod waits until the Secret has the first."""
    sources = [_secret_key(file.secret, file.key, file.file, optional=False)]
    if file.beside:
        sources.append(_secret_key(file.secret, file.beside, file.beside, optional=True))
    # For the group that the kubelet gives it. Without one the files are root's, so everybody may
    # read them; whatever opens a model is enclosed, and does not see them.
    grouped = settings.jobs.pod_security_context.fs_group is not None
    mode = 0o440 if grouped else 0o444
    return {"name": file.name, "projected": {"sources": sources, "defaultMode": mode}}


def _secret_key(secret: str, key: str, path: str, *, optional: bool) -> Manifest:
    items = [{"key": key, "path": path}]
    return {"secret": {"name": secret, "items": items, "optional": optional}}
