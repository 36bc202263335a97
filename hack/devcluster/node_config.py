"""Configuration files of the node's components, rendered from addresses and paths."""

import json
from pathlib import Path

from . import paths
from .control_plane import DNS_CLUSTER_IP
from .paths import NODE, NODE_IP, POD_CIDR, Home

PAUSE_IMAGE = "localhost/mopt-devcluster/pause:1"


def containerd_config(home: Home, cni_bin: Path, *, lower_oom_score: bool, cri: bool) -> str:
    """Render containerd's configuration; every path is ours.

    Args:
        lower_oom_score: Whether runc may set a negative oom_score_adj; without
            CAP_SYS_RESOURCE every sandbox would die of trying.
        cri: False for the short run in which dead containers are removed.
    """
    disabled = [
        "io.containerd.snapshotter.v1.aufs",
        "io.containerd.snapshotter.v1.btrfs",
        "io.containerd.snapshotter.v1.devmapper",
        "io.containerd.snapshotter.v1.zfs",
    ]
    if not cri:
        disabled.append("io.containerd.grpc.v1.cri")
    restrict = "false" if lower_oom_score else "true"
    return f"""version = 2
root = {_toml(home.containerd_root)}
state = {_toml(home.run / "containerd")}
disabled_plugins = {json.dumps(disabled)}

[grpc]
address = {_toml(home.containerd_socket)}

[plugins."io.containerd.internal.v1.opt"]
path = {_toml(home.run / "opt")}

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = {_toml(PAUSE_IMAGE)}
restrict_oom_score_adj = {restrict}
netns_mounts_under_state_dir = true
disable_tcp_service = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = {_toml(cni_bin)}
conf_dir = {_toml(home.run / "cni")}

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"""


def cni_config(home: Home) -> str:
    """Render the Pod network: one bridge; masquerading is a rule of ours, not one per Pod."""
    bridge = {
        "type": "bridge",
        "bridge": paths.BRIDGE,
        "isGateway": True,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "dataDir": str(home.run / "ipam"),
            "ranges": [[{"subnet": POD_CIDR, "gateway": NODE_IP}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    return _json({"cniVersion": "0.4.0", "name": "mopt-devcluster", "plugins": [bridge]})


def kubelet_config(
    home: Home, resolv_conf: Path, max_pods: int, *, image_volumes: bool = False
) -> str:
    """Render the KubeletConfiguration.

    Image garbage collection is off: it counts the whole disk, and no registry could give
    a loaded image back.
    """
    pki = home.layout.pki
    return _json(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": NODE_IP,
            "readOnlyPort": 0,
            "healthzBindAddress": NODE_IP,
            "healthzPort": paths.KUBELET_HEALTH_PORT,
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(pki.certificate("ca"))},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(pki.certificate("kubelet")),
            "tlsPrivateKeyFile": str(pki.key("kubelet")),
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{paths.CGROUP}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "containerRuntimeEndpoint": f"unix://{home.containerd_socket}",
            "clusterDNS": [DNS_CLUSTER_IP],
            "clusterDomain": "cluster.local",
            "resolvConf": str(resolv_conf),
            "maxPods": max_pods,
            "oomScoreAdj": 0,
            "serializeImagePulls": False,
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {
                "imagefs.available": "1%",
                "nodefs.available": "1%",
                "memory.available": "50Mi",
            },
            "volumePluginDir": str(home.run / "volume-plugins"),
            "featureGates": {"ImageVolume": True} if image_volumes else {},
        }
    )


def proxy_config(home: Home, *, masquerade_all: bool) -> str:
    """Render the KubeProxyConfiguration; it leaves conntrack's settings and localhost alone."""
    return _json(
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "iptables",
            "clusterCIDR": POD_CIDR,
            "hostnameOverride": NODE,
            "bindAddress": NODE_IP,
            "healthzBindAddress": f"{NODE_IP}:{paths.PROXY_HEALTH_PORT}",
            "metricsBindAddress": f"{NODE_IP}:10249",
            "nodePortAddresses": [f"{NODE_IP}/32"],
            "oomScoreAdj": 0,
            "clientConnection": {"kubeconfig": str(home.layout.kubeconfig("proxy"))},
            "iptables": {"masqueradeAll": masquerade_all, "localhostNodePorts": False},
            "conntrack": {
                "maxPerCore": 0,
                "min": 0,
                "tcpEstablishedTimeout": "0s",
                "tcpCloseWaitTimeout": "0s",
            },
        }
    )


def corefile(home: Home, resolv_conf: Path, *, forward: bool) -> str:
    """Render CoreDNS' configuration.

    Args:
        forward: Whether the host has name servers for names outside the cluster.
    """
    outside = f"    forward . {resolv_conf}\n" if forward else ""
    return f""".:{paths.DNS_PORT} {{
    bind {NODE_IP}
    errors
    ready {NODE_IP}:{paths.DNS_READY_PORT}
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {home.layout.kubeconfig("coredns")}
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 5
    }}
{outside}    cache 5
}}
"""


def has_name_servers(text: str) -> bool:
    """Say whether a resolv.conf names a server."""
    return any(line.split()[:1] == ["nameserver"] for line in text.splitlines())


def dns_objects() -> list[tuple[str, dict[str, object]]]:
    """Return (API path, object) for what CoreDNS as a host process needs in the cluster."""
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    role: dict[str, object] = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "system:coredns"},
        "rules": [
            {
                "apiGroups": [""],
                "resources": ["endpoints", "services", "pods", "namespaces"],
                "verbs": ["list", "watch"],
            },
            {
                "apiGroups": ["discovery.k8s.io"],
                "resources": ["endpointslices"],
                "verbs": ["list", "watch"],
            },
        ],
    }
    group = "rbac.authorization.k8s.io"
    binding: dict[str, object] = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "system:coredns"},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "system:coredns"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": "system:coredns"}],
    }
    protocols = (("dns", "UDP"), ("dns-tcp", "TCP"))
    service: dict[str, object] = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kube-dns", "labels": {"k8s-app": "kube-dns"}},
        "spec": {
            "clusterIP": DNS_CLUSTER_IP,
            "ports": [
                {"name": n, "protocol": p, "port": 53, "targetPort": paths.DNS_PORT}
                for n, p in protocols
            ],
        },
    }
    endpoints: dict[str, object] = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "kube-dns", "labels": {"kubernetes.io/service-name": "kube-dns"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [NODE_IP], "conditions": {"ready": True}}],
        "ports": [{"name": n, "protocol": p, "port": paths.DNS_PORT} for n, p in protocols],
    }
    system = "namespaces/kube-system"
    return [
        (f"{rbac}/clusterroles", role),
        (f"{rbac}/clusterrolebindings", binding),
        (f"/api/v1/{system}/services", service),
        (f"/apis/discovery.k8s.io/v1/{system}/endpointslices", endpoints),
    ]


def _toml(value: Path | str) -> str:
    # A JSON string is a TOML basic string.
    return json.dumps(str(value))


def _json(document: dict[str, object]) -> str:
    return json.dumps(document, indent=1) + "\n"
