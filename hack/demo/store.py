"""The demo's MinIO: deployed into the cluster, filled with the example's files."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minio import Minio

from .console import ROOT, Kubectl, say

SECRET = "store"  # noqa: S105 - its name, not its content
SERVICE_PORT = 9000


def secret_object(namespace: str, access_key: str, secret_key: str) -> dict[str, Any]:
    """Return the Secret that both MinIO and the resource use."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET, "namespace": namespace},
        "stringData": {
            "AWS_ACCESS_KEY_ID": access_key,
            "AWS_SECRET_ACCESS_KEY": secret_key,
            "AWS_ENDPOINT_URL": f"http://minio.{namespace}.svc:{SERVICE_PORT}",
            "AWS_REGION": "us-east-1",
        },
    }


def deploy(kubectl: Kubectl, namespace: str, image: str) -> None:
    """Start MinIO and wait until it answers; keys are made once and stay in the cluster."""
    if not kubectl.get("secret", SECRET, "-n", namespace):
        kubectl.apply(secret_object(namespace, secrets.token_hex(10), secrets.token_hex(20)))
    manifest = (ROOT / "hack" / "demo" / "minio" / "minio.yaml").read_text()
    manifest = manifest.replace("mopt/minio:dev", image)
    kubectl("apply", "-n", namespace, "-f", "-", stdin=manifest)
    say("waiting for MinIO")
    kubectl("rollout", "status", "deployment/minio", "-n", namespace, "--timeout=600s")


def _decoded(value: str) -> str:
    return base64.b64decode(value).decode()


@contextmanager
def connect(kubectl: Kubectl, namespace: str) -> Iterator[Minio]:
    """Yield a client of the MinIO in the cluster, through a port-forward."""
    data = kubectl.get("secret", SECRET, "-n", namespace)["data"]
    with kubectl.forward(namespace, "minio", SERVICE_PORT) as address:
        yield Minio(
            address,
            access_key=_decoded(data["AWS_ACCESS_KEY_ID"]),
            secret_key=_decoded(data["AWS_SECRET_ACCESS_KEY"]),
            region=_decoded(data["AWS_REGION"]),
            secure=False,
        )


def upload(client: Minio, directory: Path, example: str) -> int:
    """Upload an example's model and data, those that are not there yet; return how many."""
    for bucket in ("models", "data", "optimized"):
        if not client.bucket_exists(bucket_name=bucket):
            client.make_bucket(bucket_name=bucket)
    files = {f"models/{example}/{path.name}": path for path in directory.glob("model.*")}
    for kind in ("calibration", "evaluation"):
        for path in sorted((directory / kind).iterdir()):
            files[f"data/{example}/{kind}/{path.name}"] = path
    present = {
        f"{bucket}/{item.object_name}": item.size
        for bucket in ("models", "data")
        for item in client.list_objects(bucket_name=bucket, recursive=True)
    }
    missing = {k: path for k, path in files.items() if present.get(k) != path.stat().st_size}
    for name, path in missing.items():
        bucket, key = name.split("/", 1)
        client.fput_object(bucket_name=bucket, object_name=key, file_path=str(path))
    return len(missing)
