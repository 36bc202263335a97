"""Where the full cluster lives on the machine, and the addresses it uses."""

import os
from dataclasses import dataclass
from pathlib import Path

from .control_plane import Layout

NODE = "mopt-devcluster"
BRIDGE = "mopt0"
POD_CIDR = "10.217.0.0/16"
# The bridge's own address: the node, the API server and CoreDNS answer there.
NODE_IP = "10.217.0.1"
API_PORT = 16443
DNS_PORT = 10053
DNS_READY_PORT = 10055
KUBELET_HEALTH_PORT = 10248
PROXY_HEALTH_PORT = 10256
CGROUP = "mopt-devcluster"

RUN = Path("/run/mopt-devcluster")

# Host folders whose place in containerd, runc, CNI and kubelet is fixed in their code.
# In the cluster's own mount namespace each is covered by a folder of ours.
PRIVATE = (
    Path("/run/containerd"),
    Path("/var/lib/cni"),
    Path("/var/lib/kubelet"),
    Path("/var/log/containers"),
    Path("/var/log/pods"),
)


@dataclass(frozen=True)
class Home:
    """The folders of the full cluster.

    Attributes:
        folder: What survives a reboot; emptied by `down`.
        run: Sockets and what is only true for this boot.
    """

    folder: Path
    run: Path = RUN

    @property
    def mark(self) -> Path:
        """Return the file that proves the folder to be the cluster's own."""
        return self.folder / ".mopt-devcluster"

    @property
    def made(self) -> Path:
        """Return the list of host folders that had to be created."""
        return self.folder / "made.json"

    @property
    def layout(self) -> Layout:
        """Return the control plane's files."""
        return Layout(self.folder, self.run)

    @property
    def containerd_root(self) -> Path:
        """Return the only folder that `down --keep-images` leaves."""
        return self.folder / "containerd"

    @property
    def containerd_socket(self) -> Path:
        """Return the node's own containerd socket."""
        return self.run / "containerd.sock"

    @property
    def bin(self) -> Path:
        """Return the folder of the node's own containerd; only a cluster with image volumes has
        it."""
        return self.run / "bin"

    def private(self, place: Path) -> Path:
        """Return the folder that covers a host folder in the cluster's mount namespace."""
        return self.run / "private" / str(place).strip("/").replace("/", "-")


def home() -> Home:
    """Return the folders that MOPT_DEVCLUSTER_DIR or the default names."""
    folder = os.environ.get("MOPT_DEVCLUSTER_DIR") or "/var/lib/mopt-devcluster"
    return Home(Path(folder).resolve())
