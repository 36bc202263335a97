"""`mopt export` of a resource on a real API server: manifests that it and kubectl take."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from cli_process import Mopt, clean_environ
from light_cluster import Api, Json
from operator_world import MakeManifest

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).resolve().parents[3]
DIGEST = f"sha256:{'a' * 64}"
IMAGE = f"registry.example/models/net@sha256:{'b' * 64}"


@pytest.fixture
def published(api: Api, namespace: str, resource_manifest: MakeManifest) -> Json:
    """A resource that no operator works on, whose status says what was published."""
    manifest = resource_manifest("net")
    manifest["metadata"]["namespace"] = namespace
    api.create(manifest)
    hex_digits = DIGEST.removeprefix("sha256:")
    target = {
        "name": "default",
        "hardware": {"threads": 2},
        "report": {"digest": DIGEST, "uri": f"s3://out/blobs/sha256/{hex_digits}"},
        "artifact": {
            "digest": DIGEST,
            "sizeBytes": 9,
            "format": "ONNX",
            "uri": f"s3://out/blobs/sha256/{hex_digits}",
            "variant": "fast",
            "runtime": "OpenVINO",
            "precision": "FP32",
            "report": DIGEST,
            "generation": 1,
            "time": "2026-11-29T00:00:00Z",
        },
        "published": {
            "reference": IMAGE,
            "index": IMAGE,
            "signed": False,
            "artifact": DIGEST,
            "key": "0123",
            "time": "2026-11-29T00:00:00Z",
        },
    }
    path = f"{api.path(manifest)}/status"
    api.call("PATCH", path, {"status": {"targets": [target]}}, kind="merge-patch+json")
    return manifest


@pytest.fixture
def export(cluster: Path, published: Json, tmp_path: Path) -> Mopt:
    """Return what exports the resource, as the administrator."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        metadata = published["metadata"]
        command = [sys.executable, "-m", "mopt_cli.main", "export", metadata["name"]]
        return subprocess.run(
            [*command, "-n", metadata["namespace"], *arguments],
            cwd=tmp_path,
            env=clean_environ() | {"KUBECONFIG": str(cluster)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def test_the_api_server_takes_the_pod_where_pods_are_restricted(
    export: Mopt, published: Json, api: Api
) -> None:
    done = export("--as", "pod-yaml", "--image", "server:1")
    assert done.returncode == 0, done.stderr
    manifest = yaml.safe_load(done.stdout)
    assert manifest["spec"]["volumes"][0]["image"]["reference"] == IMAGE
    manifest["metadata"]["namespace"] = published["metadata"]["namespace"]
    path = f"{api.path(manifest, collection=True)}?dryRun=All&fieldValidation=Strict"
    # Without the feature gate ImageVolume the API server leaves the volume out of what it returns.
    (container,) = api.call("POST", path, manifest)["spec"]["containers"]
    assert container["args"][0] == "--config_path=/mnt/mopt/models/config.json"
    assert container["resources"] == {"requests": {"cpu": "2"}, "limits": {"cpu": "2"}}


DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "net"},
    "spec": {
        "template": {
            "spec": {
                "containers": [{"name": "server", "image": "server:1"}],
                "volumes": [
                    {"name": "other", "emptyDir": {}},
                    {"name": "model", "image": {"reference": "registry.example/models/net:old"}},
                ],
            }
        }
    },
}


def test_kustomize_pins_the_volume_of_a_deployment(
    export: Mopt, tmp_path: Path, kubectl_program: str
) -> None:
    done = export("--as", "kustomize")
    assert done.returncode == 0, done.stderr
    (tmp_path / "pin").mkdir()
    (tmp_path / "pin/kustomization.yaml").write_text(done.stdout)
    (tmp_path / "deployment.yaml").write_text(yaml.safe_dump(DEPLOYMENT))
    overlay = {"resources": ["deployment.yaml"], "components": ["pin"]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    built = subprocess.run(
        [kubectl_program, "kustomize", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=dict(os.environ),
    )
    assert built.returncode == 0, built.stderr
    volumes = yaml.safe_load(built.stdout)["spec"]["template"]["spec"]["volumes"]
    by_name = {volume["name"]: volume for volume in volumes}
    assert by_name["model"]["image"]["reference"] == IMAGE
    assert by_name["other"] == {"name": "other", "emptyDir": {}}


def test_kserve_starts_openvino_with_what_was_measured(export: Mopt) -> None:
    done = export("--as", "kserve-yaml", "--name", "renamed")
    assert done.returncode == 0, done.stderr
    service = yaml.safe_load(done.stdout)
    assert service["metadata"]["name"] == "renamed"
    model = service["spec"]["predictor"]["model"]
    assert model["storageUri"] == f"oci://{IMAGE}"
    device, options = model["args"]
    assert device == "--target_device=CPU"
    name, _, text = options.partition("=")
    assert name == "--plugin_config"
    assert json.loads(text)["INFERENCE_NUM_THREADS"] == "2"


@pytest.mark.parametrize(
    ("name", "arguments", "code", "words"),
    [
        ("net", ("--as", "pod-yaml"), 2, "needs the image of OpenVINO Model Server"),
        ("net", ("--as", "files", "-o", "x"), 1, "StoreAccessDenied"),
        ("none", ("--as", "kustomize"), 2, "there is no ModelOptimization none in namespace"),
    ],
    ids=["no image", "no keys of the store", "no such resource"],
)
def test_refused(
    cluster: Path,
    published: Json,
    tmp_path: Path,
    name: str,
    arguments: tuple[str, ...],
    code: int,
    words: str,
) -> None:
    where = ("-n", published["metadata"]["namespace"])
    done = subprocess.run(
        [sys.executable, "-m", "mopt_cli.main", "export", name, *where, *arguments],
        cwd=tmp_path,
        env=clean_environ() | {"KUBECONFIG": str(cluster)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
