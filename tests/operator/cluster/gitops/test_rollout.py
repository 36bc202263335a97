"""From a tightened gate to the Pod, through a registry, a signature and Flux's controllers.

What a Job publishes is pushed here by crane, with the selected form's digest in it.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
import yaml
from flux import Kustomization, MakeKustomization, Registry, archive
from job_messages import Messages
from light_cluster import Api, Json, MakeResource, Operator, Resource

pytestmark = pytest.mark.gitops

ROOT = Path(__file__).resolve().parents[4]
EXAMPLE = ROOT / "examples" / "gitops" / "image-volume"
MODELS, MANIFESTS = "models/super-resolution", "manifests/super-resolution"


class Delivery:
    """The delivery of one model: what its pipeline does, and what the cluster makes of it."""

    def __init__(self, api: Api, registry: Registry, namespace: str) -> None:
        self._api = api
        self._registry = registry
        self._namespace = namespace
        root = "/apis/source.toolkit.fluxcd.io/v1"
        self._sources = f"{root}/namespaces/{namespace}/ocirepositories"
        metadata = {"name": "team-key", "namespace": namespace}
        self.key = registry.make_key(namespace)
        public = base64.b64encode(self.key.with_suffix(".pub").read_bytes()).decode()
        data = {"cosign.pub": public}
        api.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})

    def publish(self, resource: Resource) -> str:
        """Push an image for what is selected and return its digest."""
        (target,) = resource.read()["status"]["targets"]
        files = {"models/artifact": json.dumps(target["artifact"], sort_keys=True)}
        return self._registry.push(MODELS, archive(files))

    def release(self, digest: str, key: Path | None = None) -> None:
        """Push the manifests with a model's digest, signed, and then move their tag."""
        kustomization = yaml.safe_load((EXAMPLE / "kustomization.yaml").read_text())
        (image,) = kustomization["images"]
        image |= {"digest": digest, "newName": f"{self._registry.address}/{MODELS}"}
        files = {
            "deployment.yaml": (EXAMPLE / "deployment.yaml").read_text(),
            "kustomization.yaml": yaml.safe_dump(kustomization),
        }
        manifests = self._registry.push(MANIFESTS, archive(files))
        self._registry.sign(MANIFESTS, manifests, key or self.key)
        self._registry.tag(MANIFESTS, manifests, "latest")

    def follow(self) -> Json:
        """Let source-controller follow the manifests; return the reference to its object."""
        repository = {
            "apiVersion": "source.toolkit.fluxcd.io/v1",
            "kind": "OCIRepository",
            "metadata": {"name": "super-resolution", "namespace": self._namespace},
            "spec": {
                "interval": "5s",
                "url": f"oci://{self._registry.address}/{MANIFESTS}",
                "ref": {"tag": "latest"},
                "insecure": True,
                "verify": {"provider": "cosign", "secretRef": {"name": "team-key"}},
            },
        }
        self._api.call("POST", self._sources, repository)
        return {"kind": "OCIRepository", "name": "super-resolution"}

    def verified(self) -> tuple[str, str]:
        """Return status and message of the source's SourceVerified."""
        path = f"{self._sources}/super-resolution"
        status = self._api.call("GET", path).get("status", {})
        found = {c["type"]: c for c in status.get("conditions", [])}
        condition = found.get("SourceVerified", {"status": "Unknown", "message": ""})
        return condition["status"], condition["message"]

    def served(self) -> list[str]:
        """Return the digests that the Deployment's Pods name, oldest first."""
        path = f"/api/v1/namespaces/{self._namespace}/pods?labelSelector=app=super-resolution"
        pods = sorted(
            self._api.call("GET", path)["items"],
            key=lambda pod: pod["metadata"]["creationTimestamp"],
        )
        volumes = [volume for pod in pods for volume in pod["spec"]["volumes"]]
        return [v["image"]["reference"].rpartition("@")[2] for v in volumes if "image" in v]


@pytest.fixture
def delivery(api: Api, registry: Registry, source_controller: None, namespace: str) -> Delivery:
    return Delivery(api, registry, namespace)


def test_tightened_gate_reaches_the_pod_and_a_wrong_signature_does_not(
    delivery: Delivery,
    operator: Operator,
    make_resource: MakeResource,
    make_kustomization: MakeKustomization,
    namespace: str,
    registry: Registry,
    messages: Messages,
) -> None:
    resource = make_resource(name="rollout")
    resource.run(messages)
    first = delivery.publish(resource)
    delivery.release(first)
    # No kubelet makes the Pods ready: what is waited for is that they are asked for.
    flux: Kustomization = make_kustomization(
        namespace, delivery.follow(), wait=False, targetNamespace=namespace
    )
    flux.wait(lambda: delivery.served() == [first])
    assert delivery.verified()[0] == "True"

    resource.patch({"spec": {"quality": [{"metric": "PSNR", "minimum": 60}]}})
    resource.wait_for(lambda: _selected(resource) == "onnxruntime-fp32")
    second = delivery.publish(resource)
    assert second != first
    delivery.release(second)
    flux.wait(lambda: second in delivery.served())

    resource.patch({"spec": {"quality": [{"metric": "PSNR", "minimum": 39}]}})
    resource.wait_for(lambda: _selected(resource) == "onnxruntime-int8")
    third = delivery.publish(resource)
    delivery.release(third, key=registry.make_key("stranger"))
    flux.wait(lambda: delivery.verified()[0] == "False")
    assert "signature" in delivery.verified()[1]
    assert third not in delivery.served()
    # The right key, and it is taken up.
    delivery.release(third)
    flux.wait(lambda: third in delivery.served())


def _selected(resource: Resource) -> str:
    (target,) = resource.read()["status"]["targets"]
    return str(target["selected"])
