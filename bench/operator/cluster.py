"""The cluster of the bench: a light cluster, the scheduler, and kwok in place of kubelets."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kubernetes
import yaml

from .process import JOBS_STAY_SECONDS, Operator, operator_process, running, until

ROOT = Path(__file__).resolve().parents[2]
DEVCLUSTER = [sys.executable, str(ROOT / "hack" / "devcluster")]
NAMESPACE = "bench"
ACCOUNT = "operator"
USER = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
NODES = 300
# Most of a node of kwok's: a node has room for one Job.
JOB_CPUS = "3"
READY_SECONDS = 600.0
# As kube-controller-manager has here: the scheduler's default of 50 would be what is measured.
SCHEDULER_QPS = ("--kube-api-qps=200", "--kube-api-burst=400")

Json = dict[str, Any]

# The client has no types.
client: Any = kubernetes.client
config: Any = kubernetes.config


@contextmanager
def cluster(folder: Path, stages: str) -> Iterator[Path]:
    """Run the cluster with the CRD and a namespace; yield the administrator's kubeconfig."""
    policy = folder / "audit-policy.yaml"
    policy.write_text(yaml.safe_dump(audit_policy()))
    where = ["--light", "--dir", str(folder / "cluster")]
    up = [*DEVCLUSTER, "up", *where, "--audit-policy", str(policy)]
    started = subprocess.run(
        [*up, "--parent-pid", str(os.getpid())], stdout=subprocess.PIPE, text=True, check=True
    )
    kubeconfig = Path(started.stdout.strip().splitlines()[-1])
    (folder / "stages.yaml").write_text(stages)
    try:
        config.load_kube_config(str(kubeconfig))
        with _scheduler(kubeconfig, folder), _kwok(kubeconfig, folder):
            _install()
            yield kubeconfig
    finally:
        subprocess.run([*DEVCLUSTER, "down", *where], check=True, stdout=subprocess.DEVNULL)


def audit_policy() -> Json:
    """Return a policy that writes what the operator asks for, and what is applied."""
    rules = [
        {"level": "Metadata", "users": [USER]},
        {"level": "Metadata", "verbs": ["create"], "resources": [{"group": "mopt.dev"}]},
        {"level": "None"},
    ]
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": rules,
    }


def _binary(name: str) -> str:
    found = subprocess.run(
        [*DEVCLUSTER, "binary", name], stdout=subprocess.PIPE, text=True, check=True
    )
    return found.stdout.strip()


@contextmanager
def _scheduler(kubeconfig: Path, folder: Path) -> Iterator[None]:
    flags = (f"--kubeconfig={kubeconfig}", "--leader-elect=false", "--secure-port=0")
    command = [_binary("kube-scheduler"), *flags, *SCHEDULER_QPS]
    with running(command, folder / "scheduler.log"):
        yield


@contextmanager
def _kwok(kubeconfig: Path, folder: Path) -> Iterator[None]:
    command = [
        _binary("kwok"),
        f"--kubeconfig={kubeconfig}",
        "--manage-all-nodes=true",
        # 30 renewals a second of leases that nobody looks at here.
        "--node-lease-duration-seconds=0",
        "--v=WARN",
        f"--config={folder / 'stages.yaml'}",
    ]
    with running(command, folder / "kwok.log", cwd=folder):
        yield


def _install() -> None:
    crd = yaml.safe_load((ROOT / "crds" / "mopt.dev_modeloptimizations.yaml").read_text())
    client.ApiextensionsV1Api().create_custom_resource_definition(crd)
    make_namespace(NAMESPACE)
    core = client.CoreV1Api()
    core.create_namespaced_service_account(NAMESPACE, {"metadata": {"name": ACCOUNT}})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": NAMESPACE}
    client.RbacAuthorizationV1Api().create_cluster_role_binding(
        {"metadata": {"name": "bench"}, "roleRef": role, "subjects": [subject]}
    )
    for number in range(NODES):
        name = f"kwok-{number}"
        labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}
        core.create_node({"metadata": {"name": name, "labels": labels}})
    until(lambda: all(_is_ready(node) for node in core.list_node().items))


def _is_ready(node: Any) -> bool:
    conditions = node.status.conditions or ()
    untainted = not node.spec.taints
    return untainted and any(c.type == "Ready" and c.status == "True" for c in conditions)


def make_namespace(name: str, **quota: str) -> None:
    """Make a namespace in which Pods are admitted, with a ResourceQuota if one is given."""
    core = client.CoreV1Api()
    core.create_namespace({"metadata": {"name": name}})
    if quota:
        hard = {key.replace("_", "/", 1).replace("_", "."): value for key, value in quota.items()}
        core.create_namespaced_resource_quota(
            name, {"metadata": {"name": "bench"}, "spec": {"hard": hard}}
        )
    # The controller-manager makes it; without it no Pod is admitted.
    until(
        lambda: any(
            account.metadata.name == "default"
            for account in core.list_namespaced_service_account(name).items
        )
    )


@contextmanager
def operator(
    kubeconfig: Path,
    folder: Path,
    *,
    name: str = "operator",
    at_once: int | None = None,
    ttl: int = JOBS_STAY_SECONDS,
) -> Iterator[Operator]:
    """Run an operator under its own account, a candidate for the Lease; wait until it is ready.

    Args:
        at_once: Jobs that it lets run at once; None bounds nothing.
        ttl: Seconds that finished Jobs and their Pods stay: the operator has them to hold too.
    """
    token = client.CoreV1Api().create_namespaced_service_account_token(
        ACCOUNT, NAMESPACE, {"spec": {"expirationSeconds": 36000}}
    )
    own = yaml.safe_load(kubeconfig.read_text())
    own["users"] = [{"name": ACCOUNT, "user": {"token": token.status.token}}]
    own["contexts"][0]["context"]["user"] = ACCOUNT
    settings = {
        "optimizerImage": "mopt/optimizer:bench",
        "leaderElection": {"namespace": NAMESPACE},
        "profiles": {
            "default": {
                "measurementSlots": NODES,
                **({} if at_once is None else {"maxRunning": at_once}),
                "resources": {"requests": {"cpu": JOB_CPUS}, "limits": {"cpu": JOB_CPUS}},
            }
        },
        "ttlSecondsAfterFinished": ttl,
    }
    with operator_process(own, settings, folder, name=name) as found:
        ended = found.process.poll
        until(lambda: ended() is not None or found.page("readyz") is not None, READY_SECONDS)
        if ended() is not None:
            raise RuntimeError(f"the operator ended; see {folder / name}.log")
        yield found
