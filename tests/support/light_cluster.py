"""The light cluster as tests see it: its API server, resources in it, what makes them."""

from __future__ import annotations

import base64
import json
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import urllib3
import yaml
from job_messages import Messages

Json = dict[str, Any]
# Runs kubectl as the administrator.
Kubectl = Callable[..., "subprocess.CompletedProcess[str]"]
# Everything here happens within a second or two; the machine may be busy.
PATIENCE = 60.0


def by_way_of(url: str, kubeconfig: Path, folder: Path) -> Path:
    """Write a kubeconfig by which the same user reaches the API server through a proxy."""
    config = json.loads(kubeconfig.read_text())
    config["clusters"][0]["cluster"] = {"server": url}
    file = folder / "kubeconfig"
    file.write_text(json.dumps(config))
    return file


class Refused(Exception):
    """The API server answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


class Api:
    """The API server, as the administrator."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        self.config = config
        user = config["users"][0]["user"]
        authority = config["clusters"][0]["cluster"]["certificate-authority-data"]
        self.context = ssl.create_default_context(cadata=base64.b64decode(authority).decode())
        with tempfile.NamedTemporaryFile() as chain:
            for key in ("client-certificate-data", "client-key-data"):
                chain.write(base64.b64decode(user[key]))
            chain.flush()
            self.context.load_cert_chain(chain.name)
        # One connection for all: a handshake takes longer than most answers.
        server = urllib3.util.parse_url(config["clusters"][0]["cluster"]["server"])
        assert server.host is not None
        self._pool = urllib3.HTTPSConnectionPool(
            server.host, server.port, timeout=30, retries=False, ssl_context=self.context
        )

    def call(self, method: str, path: str, body: Any = None, kind: str = "json") -> Json:
        answer = self._pool.request(
            method,
            path,
            body=None if body is None else json.dumps(body),
            headers={"Content-Type": f"application/{kind}"},
        )
        result: Json = answer.json()
        if answer.status >= 400:
            raise Refused(answer.status, result["message"])
        return result

    def create(self, manifest: Json) -> Json:
        return self.call("POST", self.path(manifest, collection=True), manifest)

    @staticmethod
    def path(manifest: Json, *, collection: bool = False) -> str:
        version, kind = manifest["apiVersion"], manifest["kind"]
        root = f"/api/{version}" if "/" not in version else f"/apis/{version}"
        namespace = manifest["metadata"].get("namespace")
        middle = f"/namespaces/{namespace}" if namespace else ""
        end = "" if collection else f"/{manifest['metadata']['name']}"
        return f"{root}{middle}/{kind.lower()}s{end}"


class Resource:
    """One ModelOptimization in the cluster, seen from outside the operator."""

    def __init__(self, api: Api, manifest: Json) -> None:
        self._api = api
        self.manifest = manifest
        self.namespace = manifest["metadata"]["namespace"]
        self.name = manifest["metadata"]["name"]
        self._path = api.path(manifest)

    def read(self) -> Json:
        return self._api.call("GET", self._path)

    def patch(self, body: Json) -> Json:
        return self._api.call("PATCH", self._path, body, "merge-patch+json")

    def delete(self) -> None:
        self._api.call("DELETE", self._path)

    def _labelled(self, root: str, plural: str) -> list[Json]:
        path = (
            f"{root}/namespaces/{self.namespace}/{plural}?labelSelector=mopt.dev/name={self.name}"
        )
        return list(self._api.call("GET", path)["items"])

    def jobs(self) -> list[Json]:
        found = self._labelled("/apis/batch/v1", "jobs")
        return sorted(found, key=lambda job: job["metadata"]["creationTimestamp"])

    def pods(self) -> list[Json]:
        return self._labelled("/api/v1", "pods")

    def events(self) -> list[Json]:
        selector = f"fieldSelector=involvedObject.name={self.name}"
        path = f"/api/v1/namespaces/{self.namespace}/events?{selector}"
        return list(self._api.call("GET", path)["items"])

    def said(self) -> dict[str, tuple[str, str]]:
        """Return status and reason of each condition that tells how the run stands."""
        conditions = self.read().get("status", {}).get("conditions", [])
        return {
            c["type"]: (c["status"], c["reason"])
            for c in conditions
            if c["type"] not in ("ArtifactAvailable", "Published")
        }

    def published(self) -> tuple[str, str, str]:
        """Return status, reason and message of Published; empty where there is none."""
        conditions = self.read().get("status", {}).get("conditions", [])
        found = (c for c in conditions if c["type"] == "Published")
        return next(((c["status"], c["reason"], c["message"]) for c in found), ("", "", ""))

    def wait_published(self, status: str, reason: str) -> None:
        self.wait_for(lambda: self.published()[:2] == (status, reason))

    def message(self) -> str:
        conditions = self.read()["status"]["conditions"]
        return next((str(c["message"]) for c in conditions if c["type"] == "Ready"), "")

    def wait_for(self, look: Callable[[], Any], seconds: float = PATIENCE) -> Any:
        """Return the first true answer of a look, or fail with what there is."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := look():
                return found
            time.sleep(0.1)
        state = json.dumps(self.read().get("status"), indent=1)
        jobs = [(j["metadata"]["name"], j.get("status")) for j in self.jobs()]
        raise AssertionError(f"waited {seconds} s in vain; status {state}; Jobs {jobs}")

    def wait_said(self, **conditions: tuple[str, str]) -> None:
        self.wait_for(lambda: self.said() == conditions)

    def pod_of(self, stage: str, target: str | None = None) -> Json:
        """Wait for the Pod at work of a stage."""

        def look() -> Json | None:
            for pod in self.pods():
                labels = pod["metadata"]["labels"]
                fits = labels["mopt.dev/stage"] == stage
                fits &= target is None or labels.get("mopt.dev/target") == target
                if fits and pod["status"]["phase"] not in ("Succeeded", "Failed"):
                    return pod
            return None

        found: Json = self.wait_for(look)
        return found

    def set_pod(self, pod: Json, status: Json) -> None:
        """Report what a kubelet would."""
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod['metadata']['name']}/status"
        self._api.call("PATCH", path, {"status": status}, "merge-patch+json")

    def waiting(self, pod: Json, reason: str, message: str) -> None:
        state = {"waiting": {"reason": reason, "message": message}}
        self.set_pod(pod, {"phase": "Pending", "containerStatuses": [_container(state)]})

    def finish(self, pod: Json, message: str, *, exit_code: int = 0, reason: str = "") -> None:
        state = {"terminated": {"exitCode": exit_code, "message": message, "reason": reason}}
        phase = "Failed" if exit_code else "Succeeded"
        self.set_pod(pod, {"phase": phase, "containerStatuses": [_container(state)]})

    def run(self, messages: Messages) -> None:
        """Play the kubelet from the first Job to the last."""
        self.finish(self.pod_of("prepare"), messages.prepare())
        self.finish(self.pod_of("measure"), messages.measure())
        self.wait_said(Ready=("True", "Optimized"))


def _container(state: Json) -> Json:
    return {
        "name": "optimizer",
        "image": "mopt/optimizer:test",
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "state": state,
    }


class Operator(Protocol):
    """The operator's process."""

    address: str
    command: list[str]

    @property
    def running(self) -> bool: ...
    def start(self) -> None: ...
    def stop(self) -> int: ...
    def kill(self) -> None: ...
    def run(self) -> int: ...
    def page(self, name: str, token: str = ...) -> str: ...
    def metric(self, series: str) -> float: ...
    def log(self) -> str: ...
    def log_lines(self, count: int) -> list[str]: ...


class MakeResource(Protocol):
    """Makes resources, named after the test; its arguments are fields of spec."""

    def __call__(self, *, namespace: str = ..., name: str = ..., **spec: object) -> Resource: ...


class MakeOperator(Protocol):
    """Makes operators (not started); its arguments are settings."""

    def __call__(self, *, kubeconfig: Path = ..., **config: object) -> Operator: ...


class MakeNamespace(Protocol):
    """Makes namespaces that enforce restricted Pods; returns their names."""

    def __call__(self, name: str = ...) -> str: ...
