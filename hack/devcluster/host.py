"""Checks before anything is started: system, rights, disk, packages, neighbours."""

import ipaddress
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from .control_plane import SERVICE_CIDR
from .errors import HostError
from .paths import BRIDGE, POD_CIDR
from .progress import say

# An optimizer image unpacked, its layers and a build of the next one fit into this.
FREE_DISK = 25 * 1000**3

CAP_SYS_RESOURCE = 24

# What must be there -> the Debian package that brings it.
NODE_PACKAGES = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ethtool": "ethtool",
    "socat": "socat",
    "ip": "iproute2",
    "openssl": "openssl",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "mount": "mount",
}
CNI_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"), Path("/usr/libexec/cni"))
CNI_PLUGINS = ("bridge", "host-local", "loopback")


def prefer(folder: Path) -> None:
    """Let the programs of a folder come before all others."""
    os.environ["PATH"] = f"{folder}:{os.environ.get('PATH', '')}"


def extend_path() -> None:
    """Add the sbin folders, where Debian keeps iptables and ip."""
    parts = os.environ.get("PATH", "").split(":")
    missing = [p for p in ("/usr/local/sbin", "/usr/sbin", "/sbin") if p not in parts]
    os.environ["PATH"] = ":".join([*parts, *missing])


def require_linux_root() -> None:
    """Refuse other systems and users.

    Raises:
        HostError: Not Linux on amd64 or arm64, or not root.
    """
    system, machine = platform.system(), platform.machine()
    if system != "Linux" or machine not in ("x86_64", "aarch64"):
        raise HostError(
            f"the full cluster needs Linux on x86_64 or aarch64, this is {system} {machine}; "
            "use kind, or `up --light` on Linux"
        )
    if os.geteuid() != 0:
        raise HostError("the full cluster needs root; use sudo, or `up --light` without it")


def has_room(folder: Path) -> bool:
    """Say whether images fit where the cluster's folder lies or will lie."""
    return _free(folder) >= FREE_DISK


def require_disk(folder: Path) -> None:
    """Refuse a disk that images would fill.

    Raises:
        HostError: Below 25 GB are free where the cluster's folder lies or will lie.
    """
    if not has_room(folder):
        raise HostError(
            f"only {_free(folder) / 1000**3:.1f} GB are free for {folder}, "
            f"{FREE_DISK / 1000**3:.0f} GB are needed; free some, or "
            "point MOPT_DEVCLUSTER_DIR at another disk"
        )


def _free(folder: Path) -> int:
    place = folder
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def cni_folder() -> Path | None:
    """Return the folder that holds the CNI plugins."""
    for folder in CNI_FOLDERS:
        if all((folder / plugin).exists() for plugin in CNI_PLUGINS):
            return folder
    return None


def missing_packages(wanted: dict[str, str]) -> list[str]:
    """Return the packages whose commands are not on PATH."""
    return sorted({package for command, package in wanted.items() if not shutil.which(command)})


def install(packages: Sequence[str]) -> None:
    """Install Debian packages.

    Raises:
        HostError: There is no apt-get, no root, or it failed.
    """
    if not packages:
        return
    listed = " ".join(packages)
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise HostError(f"these are missing and must be installed first: {listed}")
    say(f"installing by apt-get: {listed}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages]
    for attempt in ([command], [["apt-get", "update", "-q"], command]):
        results = [
            subprocess.run(step, env=environment, capture_output=True, text=True, check=False)
            for step in attempt
        ]
        if results[-1].returncode == 0:
            return
    detail = (results[-1].stderr.strip().splitlines() or ["no output"])[-1]
    raise HostError(f"apt-get could not install {listed}: {detail}; install them by hand")


def install_node_packages() -> Path:
    """Install what the node needs and return the folder of the CNI plugins.

    Raises:
        HostError: Something is missing and cannot be installed.
    """
    packages = missing_packages(NODE_PACKAGES)
    if cni_folder() is None:
        packages.append("containernetworking-plugins")
    install(packages)
    folder = cni_folder()
    if folder is None:
        raise HostError(f"no CNI plugins in {', '.join(map(str, CNI_FOLDERS))}; install them")
    return folder


def overlaps(addresses: Iterable[tuple[str, str]]) -> str | None:
    """Return a description of the first foreign network that covers one of ours.

    Args:
        addresses: Pairs of interface name and its address with prefix length.
    """
    ours = [ipaddress.ip_network(cidr) for cidr in (POD_CIDR, SERVICE_CIDR)]
    for name, address in addresses:
        network = ipaddress.ip_interface(address).network
        for mine in ours:
            if name != BRIDGE and network.version == mine.version and network.overlaps(mine):
                return f"{name} has {address}, inside our {mine}"
    return None


def require_free_networks() -> None:
    """Refuse a machine that uses our address ranges itself.

    Raises:
        HostError: An interface has an address in one of them.
    """
    answer = subprocess.run(
        ["ip", "-json", "-4", "address"], capture_output=True, text=True, check=True
    )
    pairs = [
        (link["ifname"], f"{entry['local']}/{entry['prefixlen']}")
        for link in json.loads(answer.stdout)
        for entry in link["addr_info"]
    ]
    clash = overlaps(pairs)
    if clash:
        raise HostError(f"the cluster's addresses are taken: {clash}; remove that interface")


def has_capability(status: str, number: int) -> bool:
    """Read from /proc/self/status whether a capability is effective."""
    for line in status.splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> number & 1)
    return False


def may_lower_oom_score() -> bool:
    """Say whether runc may give sandboxes their negative oom_score_adj."""
    return has_capability(Path("/proc/self/status").read_text(), CAP_SYS_RESOURCE)


def resolv_conf() -> Path:
    """Return the file with the real name servers, not systemd-resolved's local stub."""
    real = Path("/run/systemd/resolve/resolv.conf")
    return real if real.exists() else Path("/etc/resolv.conf")
