"""How fast the operator reacts, and what it asks of the API server.

    .venv/bin/python bench/operator/run.py [--resources 100] [--repeat 20]

Starts a light cluster (a real API server and controller-manager, no nodes) and one operator,
plays the kubelet, and reads everything from the API server's audit log: the time from the answer
to `apply` until the prepare Job is there, and the operator's requests from apply to Ready.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import kubernetes
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from operator_simulation import message_of  # noqa: E402 - found by the line above

NAMESPACE = "bench"
ACCOUNT = "operator"
PATIENCE_SECONDS = 300.0

Json = dict[str, Any]

# The client has no types.
client: Any = kubernetes.client
config: Any = kubernetes.config


@contextmanager
def light_cluster(folder: Path) -> Iterator[Path]:
    """Run a light cluster that writes an audit log; yield its kubeconfig."""
    command = [sys.executable, str(ROOT / "hack" / "devcluster")]
    where = ["--light", "--dir", str(folder)]
    up = subprocess.run(
        [*command, "up", *where, "--audit", "--parent-pid", str(os.getpid())],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    try:
        yield Path(up.stdout.strip().splitlines()[-1])
    finally:
        subprocess.run([*command, "down", *where], check=True, stdout=subprocess.DEVNULL)


def install() -> None:
    """Install the CRD, a namespace, and an account for the operator."""
    crd = yaml.safe_load((ROOT / "crds" / "mopt.dev_modeloptimizations.yaml").read_text())
    client.ApiextensionsV1Api().create_custom_resource_definition(crd)
    core = client.CoreV1Api()
    core.create_namespace({"metadata": {"name": NAMESPACE}})
    core.create_namespaced_service_account(NAMESPACE, {"metadata": {"name": ACCOUNT}})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": NAMESPACE}
    client.RbacAuthorizationV1Api().create_cluster_role_binding(
        {"metadata": {"name": "bench"}, "roleRef": role, "subjects": [subject]}
    )
    # The controller-manager makes it; without it no Pod is admitted.
    until(lambda: _has_default_account(core))


def _has_default_account(core: Any) -> bool:
    found = core.list_namespaced_service_account(NAMESPACE).items
    return any(account.metadata.name == "default" for account in found)


@contextmanager
def running_operator(kubeconfig: Path, folder: Path) -> Iterator[str]:
    """Run the operator under its own account; yield the address of its pages."""
    token = client.CoreV1Api().create_namespaced_service_account_token(
        ACCOUNT, NAMESPACE, {"spec": {"expirationSeconds": 7200}}
    )
    own = yaml.safe_load(kubeconfig.read_text())
    own["users"] = [{"name": ACCOUNT, "user": {"token": token.status.token}}]
    own["contexts"][0]["context"]["user"] = ACCOUNT
    (folder / "kubeconfig").write_text(json.dumps(own))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    profiles = {"default": {"measurementSlots": 1000}}
    settings: Json = {"optimizerImage": "mopt/optimizer:bench", "healthAddress": address}
    settings["profiles"] = profiles
    (folder / "config.json").write_text(json.dumps(settings))
    environment = os.environ | {
        "KUBECONFIG": str(folder / "kubeconfig"),
        "MOPT_OPERATOR_CONFIG": str(folder / "config.json"),
    }
    with (folder / "operator.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mopt_operator.main"], env=environment, stderr=log
        )
        try:
            until(lambda: page(address, "readyz") is not None)
            yield address
        finally:
            process.terminate()
            process.wait(20)


def page(address: str, name: str) -> str | None:
    """Return a page of the operator's; None where it does not answer with 200."""
    try:
        with urllib.request.urlopen(f"http://{address}/{name}", timeout=5) as answer:
            text: str = answer.read().decode()
            return text
    except OSError:
        return None


def until(look: Any) -> None:
    """Wait until a look is true.

    Raises:
        TimeoutError: It never was.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not look():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {PATIENCE_SECONDS:.0f} s in vain")
        time.sleep(0.05)


def manifest(name: str) -> Json:
    """Return a resource with one target."""
    return {
        "apiVersion": "mopt.dev/v1alpha1",
        "kind": "ModelOptimization",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "model": {"uri": "s3://models/m.onnx", "sha256": "0" * 64, "format": "ONNX"},
            "inputs": [{"name": "x", "shape": [1, 3, 8, 8]}],
            "benchmark": {"points": [{"name": "one"}, {"name": "four"}]},
            "output": {"uri": "s3://optimized", "credentialsSecretRef": {"name": "store"}},
        },
    }


class Kubelet:
    """Lets every Pod succeed at once, with what its Job returns."""

    def __init__(self) -> None:
        self._core, self._batch = client.CoreV1Api(), client.BatchV1Api()
        self._models: dict[str, str] = {}
        self._done: set[str] = set()

    def serve(self) -> None:
        """Finish the Pods that there are."""
        for pod in self._core.list_namespaced_pod(NAMESPACE).items:
            if pod.metadata.uid in self._done:
                continue
            job_name = pod.metadata.owner_references[0].name
            job = self._batch.api_client.sanitize_for_serialization(
                self._batch.read_namespaced_job(job_name, NAMESPACE)
            )
            ended = {"terminated": {"exitCode": 0, "message": message_of(job, self._models)}}
            container = {
                "name": "optimizer",
                "image": "mopt/optimizer:bench",
                "imageID": "",
                "ready": False,
                "restartCount": 0,
                "state": ended,
            }
            status = {"phase": "Succeeded", "containerStatuses": [container]}
            self._core.patch_namespaced_pod_status(pod.metadata.name, NAMESPACE, {"status": status})
            self._done.add(pod.metadata.uid)


def ready(names: set[str]) -> bool:
    """Tell whether all resources of these names are Ready."""
    found = client.CustomObjectsApi().list_namespaced_custom_object(
        "mopt.dev", "v1alpha1", NAMESPACE, "modeloptimizations"
    )
    return names <= {
        item["metadata"]["name"]
        for item in found["items"]
        for condition in item["status"].get("conditions", ())
        if condition["type"] == "Ready" and condition["status"] == "True"
    }


def apply(names: list[str], *, per_second: float) -> None:
    """Create resources at a rate."""
    objects = client.CustomObjectsApi()
    began = time.monotonic()

    def one(item: tuple[int, str]) -> None:
        time.sleep(max(began + item[0] / per_second - time.monotonic(), 0))
        objects.create_namespaced_custom_object(
            "mopt.dev", "v1alpha1", NAMESPACE, "modeloptimizations", manifest(item[1])
        )

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(one, enumerate(names)))


def run(names: list[str], kubelet: Kubelet, *, per_second: float) -> float:
    """Carry resources from apply to Ready; return the seconds that all of them took."""
    began = time.monotonic()
    apply(names, per_second=per_second)
    wanted = set(names)

    def look() -> bool:
        kubelet.serve()
        return ready(wanted)

    until(look)
    return time.monotonic() - began


def requests(audit_log: Path) -> list[Json]:
    """Return the audit log's completed requests."""
    lines = (json.loads(line) for line in audit_log.read_text().splitlines())
    return [entry for entry in lines if entry["stage"] == "ResponseComplete"]


def reaction_times(entries: list[Json], names: list[str]) -> list[float]:
    """Return the milliseconds from each resource's creation to that of its first Job."""
    created: dict[str, datetime] = {}
    reacted: dict[str, float] = {}
    for entry in entries:
        reference = entry.get("objectRef", {})
        if entry["verb"] != "create" or reference.get("namespace") != NAMESPACE:
            continue
        name = reference.get("name", "")
        at = datetime.fromisoformat(entry["stageTimestamp"])
        if reference["resource"] == "modeloptimizations":
            created[name] = at
        elif reference["resource"] == "jobs":
            owner = name.rsplit("-", 2)[0]
            if owner in created and owner not in reacted:
                reacted[owner] = (at - created[owner]).total_seconds() * 1000
    return [reacted[name] for name in names]


def percentile(values: list[float], share: float) -> float:
    """Return the value below which that share of the values lies."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def operator_requests(entries: list[Json], names: list[str]) -> Counter[tuple[str, str]]:
    """Count the operator's requests about some resources, by verb and kind."""
    user = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
    wanted = tuple(names)
    found: Counter[tuple[str, str]] = Counter()
    for entry in entries:
        reference = entry.get("objectRef", {})
        if entry["user"]["username"] != user or not reference:
            continue
        if reference.get("name", "").startswith(wanted):
            kind = "/".join(filter(None, (reference["resource"], reference.get("subresource"))))
            found[entry["verb"], kind] += 1
    return found


def lists_after_start(entries: list[Json], start: datetime) -> int:
    """Count the operator's lists since a time, whatever they were about."""
    user = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
    return sum(
        entry["verb"] == "list"
        and entry["user"]["username"] == user
        and datetime.fromisoformat(entry["requestReceivedTimestamp"]) > start
        for entry in entries
    )


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--resources", type=int, default=100, help="at once, at 100 a second")
    parser.add_argument("--repeat", type=int, default=20, help="one after the other")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        with light_cluster(folder / "cluster") as kubeconfig:
            config.load_kube_config(str(kubeconfig))
            install()
            with running_operator(kubeconfig, folder) as address:
                start = datetime.now().astimezone()
                kubelet = Kubelet()
                single = [f"single-{n:04}" for n in range(arguments.repeat)]
                alone = [run([name], kubelet, per_second=1) for name in single]
                many = [f"many-{n:04}" for n in range(arguments.resources)]
                together = run(many, kubelet, per_second=100)
                metrics = page(address, "metrics") or ""
            entries = requests(kubeconfig.parent / "audit.log")
    print(table(entries, single, many, alone, together, start))
    memory = next(
        (line for line in metrics.splitlines() if line.startswith("process_resident_memory")), ""
    )
    print(f"\noperator: {float(memory.split()[-1]) / 2**20:.0f} MiB resident" if memory else "")
    return 0


def table(
    entries: list[Json],
    single: list[str],
    many: list[str],
    alone: list[float],
    together: float,
    start: datetime,
) -> str:
    """Return the results in Markdown."""
    lines = [
        "| From apply to the first Job | p50 ms | p99 ms | all Ready after s |",
        "|---|---|---|---|",
    ]
    for label, names, seconds in (
        (f"1 resource, {len(single)} times", single, statistics.median(alone)),
        (f"{len(many)} resources, 100 a second", many, together),
    ):
        times = reaction_times(entries, names)
        lines.append(
            f"| {label} | {percentile(times, 0.5):.0f} | {percentile(times, 0.99):.0f} "
            f"| {seconds:.1f} |"
        )
    lines += ["", "| Requests from apply to Ready | verb | per resource |", "|---|---|---|"]
    counted = operator_requests(entries, [*single, *many])
    for (verb, kind), count in sorted(counted.items(), key=lambda item: (-item[1], item[0])):
        lines.append(f"| {kind} | {verb} | {count / (len(single) + len(many)):.2f} |")
    lines.append(f"| anything | list | {lists_after_start(entries, start)} in all |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
