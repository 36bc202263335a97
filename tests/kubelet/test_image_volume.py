"""A published image as an image volume and as a KServe modelcar, by a real kubelet."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from image_volumes import HOST_NAMESPACE, NAMESPACE, Json, Published, RunPod
from onnx import numpy_helper
from published_forms import WIDTH

pytestmark = pytest.mark.kubelet

ROOT = Path(__file__).resolve().parents[2]
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
# What KServe runs both containers as, so that one may look into the other.
USER = 1010


def restricted(name: str, **spec: object) -> Json:
    """Return a Pod that a namespace which enforces `restricted` admits."""
    security = {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"restartPolicy": "Never", "securityContext": security, **spec},
    }


def container(name: str, image: str, script: str, mounts: dict[str, str]) -> Json:
    return {
        "name": name,
        "image": image,
        "command": ["sh", "-c", script],
        "securityContext": RESTRICTED,
        "volumeMounts": [{"name": n, "mountPath": path} for n, path in mounts.items()],
    }


def image_volume(published: Published) -> Json:
    return {"name": "model", "image": {"reference": published.reference}}


def test_a_restricted_pod_reads_the_image_volume(published: Published, run_pod: RunPod) -> None:
    script = f"sha256sum /model/models/{published.path}; ! >/model/models/x"
    server = container("server", published.base, script, {"model": "/model"})
    pod = restricted("volume", containers=[server], volumes=[image_volume(published)])
    log = run_pod(pod, "server", NAMESPACE)
    assert log.startswith(f"{published.digest.removeprefix('sha256:')}  ")
    assert "Read-only file system" in log


def test_the_server_of_a_modelcar_reads_its_files(published: Published, run_pod: RunPod) -> None:
    """The Pod that KServe makes of storageUri: oci://, written out: a container of the model's
    image links its own root into a shared folder, and the server follows the link."""
    # Kubernetes reads $$ as $, and the shell the rest as its own pid.
    link = "ln -sf /proc/$$$$/root/models /mnt/models && sleep 3600"
    wait = "until [ -e /mnt/models/. ]; do sleep 0.1; done"
    read = f"{wait}; sha256sum /mnt/models/{published.path}; ls /mnt/models"
    modelcar = container("modelcar", published.reference, link, {"mnt": "/mnt"})
    server = container("kserve-container", published.base, read, {"mnt": "/mnt"})
    pod = restricted(
        "modelcar",
        shareProcessNamespace=True,
        containers=[modelcar, server],
        volumes=[{"name": "mnt", "emptyDir": {}}],
    )
    log = run_pod(pod, "kserve-container", NAMESPACE)
    assert log.splitlines()[0].startswith(f"{published.digest.removeprefix('sha256:')}  ")
    # The folder for servers, and what mopt serve reads.
    assert log.splitlines()[1:] == ["linear", "mopt.json"]


PROGRAM = """
import json, sys
from pathlib import Path
import numpy as np
from mopt_optimizer import ModelManager

manager = ModelManager("/tmp/registry", cache=Path("/tmp/cache"), environ={})
manager.register("linear", Path(sys.argv[1]))
with manager.load_optimized_model("linear") as model:
    (output,) = model.run({"x": np.eye(%d, dtype=np.float32)}).values()
print(json.dumps({"reason": model.reason, "sum": float(np.abs(output).sum())}))
"""


def test_model_manager_loads_from_the_image_volume(
    published: Published, run_pod: RunPod, tmp_path: Path
) -> None:
    """With the Python of this machine, so that no image of its own has to be built."""
    shared = {sys.prefix, sys.base_prefix, str(ROOT), "/usr", "/lib", "/lib64", "/etc"}
    mounts = {f"host-{number}": path for number, path in enumerate(sorted(shared))}
    path = f"/model/models/{published.path}"
    server: Json = {
        "name": "server",
        "image": published.base,
        "command": [sys.executable, "-c", PROGRAM % WIDTH, path],
        "env": [{"name": "PYTHONPATH", "value": ":".join(sys.path)}],
        "volumeMounts": [
            {"name": "model", "mountPath": "/model"},
            *({"name": n, "mountPath": p, "readOnly": True} for n, p in mounts.items()),
        ],
    }
    volumes = [{"name": n, "hostPath": {"path": p}} for n, p in mounts.items()]
    pod: Json = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "manager"},
        "spec": {
            "restartPolicy": "Never",
            "containers": [server],
            "volumes": [image_volume(published), *volumes],
        },
    }
    log = run_pod(pod, "server", HOST_NAMESPACE)
    found = json.loads(log.splitlines()[-1])
    weights = numpy_helper.to_array(onnx.load(published.source).graph.initializer[0])
    assert found["sum"] == pytest.approx(float(np.abs(weights).sum()), rel=1e-4)
