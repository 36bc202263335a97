"""Command lines of etcd, API server, controller manager and scheduler; nothing is run here."""

import json
from dataclasses import dataclass
from pathlib import Path

from .certificates import Pki

SERVICE_CIDR = "10.218.0.0/16"
# The first address of the range is the API server's ClusterIP by definition.
API_CLUSTER_IP = "10.218.0.1"
DNS_CLUSTER_IP = "10.218.0.10"
ISSUER = "https://kubernetes.default.svc.cluster.local"

API_NAMES = (
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "localhost",
    API_CLUSTER_IP,
)

# Requests per second and burst; the default of 20/30 makes a thousand Jobs take minutes.
CONTROLLER_QPS = 200
CONTROLLER_BURST = 400


@dataclass(frozen=True)
class Layout:
    """Where a control plane keeps its files.

    Attributes:
        folder: Data, certificates and kubeconfigs.
        runtime: Sockets; short, since a socket's path holds 107 characters at most.
    """

    folder: Path
    runtime: Path

    @property
    def pki(self) -> Pki:
        """Return the certificates."""
        return Pki(self.folder / "pki")

    @property
    def etcd_socket(self) -> Path:
        """Return the socket on which etcd serves the API server."""
        return self.runtime / "etcd.sock"

    @property
    def audit_policy(self) -> Path:
        """Return the path of the audit policy."""
        return self.folder / "audit-policy.json"

    @property
    def audit_log(self) -> Path:
        """Return the path of the audit log."""
        return self.folder / "audit.log"

    def kubeconfig(self, user: str) -> Path:
        """Return the path of a component's kubeconfig."""
        return self.folder / f"{user}.kubeconfig"


def etcd_command(program: Path, layout: Layout) -> list[str]:
    """Return etcd's command line: sockets only, so no port and no other user reaches it."""
    # etcd insists on host:port in what it advertises; nobody dials these.
    peer = "http://localhost:2380"
    return [
        str(program),
        f"--data-dir={layout.folder / 'etcd'}",
        f"--listen-client-urls=unix://{layout.etcd_socket}",
        "--advertise-client-urls=http://localhost:2379",
        f"--listen-peer-urls=unix://{layout.runtime}/peer.sock",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
        "--quota-backend-bytes=8589934592",
        "--log-level=warn",
    ]


def apiserver_command(
    program: Path,
    layout: Layout,
    *,
    address: str,
    port: int,
    audit: bool,
    image_volumes: bool = False,
) -> list[str]:
    """Return the flags that the API servers of both kinds of cluster share."""
    pki = layout.pki
    command = [
        str(program),
        f"--etcd-servers=unix://{layout.etcd_socket}",
        f"--bind-address={address}",
        f"--advertise-address={address}",
        f"--secure-port={port}",
        "--permit-port-sharing",
        f"--tls-cert-file={pki.certificate('apiserver')}",
        f"--tls-private-key-file={pki.key('apiserver')}",
        f"--client-ca-file={pki.certificate('ca')}",
        f"--service-account-issuer={ISSUER}",
        f"--service-account-key-file={pki.folder / 'sa.pub'}",
        f"--service-account-signing-key-file={pki.key('sa')}",
        f"--service-cluster-ip-range={SERVICE_CIDR}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged",
        "--profiling=false",
    ]
    if image_volumes:
        command.append("--feature-gates=ImageVolume=true")
    if audit:
        command += [
            f"--audit-policy-file={layout.audit_policy}",
            f"--audit-log-path={layout.audit_log}",
            # Who reads it looks for it in one file: the default begins another after 100 MB.
            "--audit-log-maxsize=100000",
            # Written before the answer is sent: a test that got its answer finds the line.
            "--audit-log-mode=blocking",
        ]
    return command


def aggregation_flags(pki: Pki) -> list[str]:
    """Return the flags by which the API server proxies to extension API servers."""
    return [
        f"--requestheader-client-ca-file={pki.certificate('front-proxy-ca')}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-username-headers=X-Remote-User",
        f"--proxy-client-cert-file={pki.certificate('front-proxy-client')}",
        f"--proxy-client-key-file={pki.key('front-proxy-client')}",
    ]


def kubelet_client_flags(pki: Pki) -> list[str]:
    """Return the flags by which the API server reaches the kubelet: logs, exec, port-forward."""
    return [
        "--kubelet-preferred-address-types=InternalIP",
        f"--kubelet-certificate-authority={pki.certificate('ca')}",
        f"--kubelet-client-certificate={pki.certificate('apiserver-kubelet-client')}",
        f"--kubelet-client-key={pki.key('apiserver-kubelet-client')}",
    ]


def controller_manager_command(program: Path, layout: Layout) -> list[str]:
    """Return the controller manager's command line; it serves no port."""
    pki = layout.pki
    return [
        str(program),
        f"--kubeconfig={layout.kubeconfig('controller-manager')}",
        f"--service-account-private-key-file={pki.key('sa')}",
        f"--root-ca-file={pki.certificate('ca')}",
        f"--cluster-signing-cert-file={pki.certificate('ca')}",
        f"--cluster-signing-key-file={pki.key('ca')}",
        # Its default is a folder of the host that it would create.
        f"--flex-volume-plugin-dir={layout.folder / 'volume-plugins'}",
        "--use-service-account-credentials",
        "--leader-elect=false",
        "--secure-port=0",
        f"--kube-api-qps={CONTROLLER_QPS}",
        f"--kube-api-burst={CONTROLLER_BURST}",
        "--concurrent-job-syncs=20",
        "--profiling=false",
    ]


def scheduler_command(program: Path, layout: Layout) -> list[str]:
    """Return the scheduler's command line; it serves no port."""
    return [
        str(program),
        f"--kubeconfig={layout.kubeconfig('scheduler')}",
        "--leader-elect=false",
        "--secure-port=0",
        f"--kube-api-qps={CONTROLLER_QPS}",
        f"--kube-api-burst={CONTROLLER_BURST}",
        "--profiling=false",
    ]


def audit_policy() -> str:
    """Render a policy that writes who did what to which object, without bodies."""
    policy = {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata"}],
    }
    return json.dumps(policy) + "\n"
