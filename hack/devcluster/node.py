"""The node's own components: kubelet, kube-proxy and CoreDNS."""

from pathlib import Path

from . import containerd, node_config
from .client import ApiClient
from .errors import StartError
from .host import resolv_conf
from .paths import NODE, NODE_IP, Home
from .processes import Processes


def start(
    home: Home,
    programs: dict[str, Path],
    client: ApiClient,
    *,
    masquerade_all: bool,
    max_pods: int,
    image_volumes: bool,
) -> None:
    """Write the configurations and start the components.

    Raises:
        StartError: The API server refused what CoreDNS needs.
    """
    layout = home.layout
    processes = Processes(home.folder)
    servers = resolv_conf()
    network = home.run / "cni"
    network.mkdir(exist_ok=True)
    (network / "10-mopt.conflist").write_text(node_config.cni_config(home))

    config = layout.folder / "kubelet.json"
    kubelet = node_config.kubelet_config(home, servers, max_pods, image_volumes=image_volumes)
    config.write_text(kubelet)
    command: list[str | Path] = [
        *containerd.enter(home),
        programs["kubelet"],
        f"--config={config}",
        f"--kubeconfig={layout.kubeconfig('kubelet')}",
        f"--hostname-override={NODE}",
        f"--node-ip={NODE_IP}",
        f"--cert-dir={home.run / 'kubelet-pki'}",
    ]
    processes.start("kubelet", command)

    config = layout.folder / "kube-proxy.json"
    config.write_text(node_config.proxy_config(home, masquerade_all=masquerade_all))
    processes.start("kube-proxy", [programs["kube-proxy"], f"--config={config}"])

    for path, document in node_config.dns_objects():
        if not client.create(path, document):
            raise StartError(f"the API server refused the DNS object at {path}; see its log")
    config = layout.folder / "Corefile"
    forward = servers.exists() and node_config.has_name_servers(servers.read_text())
    config.write_text(node_config.corefile(home, servers, forward=forward))
    processes.start("coredns", [programs["coredns"], "-conf", config])


def is_ready(client: ApiClient) -> bool:
    """Say whether the node reports Ready."""
    found = client.get(f"/api/v1/nodes/{NODE}")
    if not isinstance(found, dict):
        return False
    conditions = found.get("status", {}).get("conditions", [])
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)
