"""The bridge, the kernel settings and the rules that Pods' packets need."""

import contextlib
import json
import subprocess
from pathlib import Path

from . import iptables
from .control_plane import SERVICE_CIDR
from .errors import StartError
from .paths import BRIDGE, NODE_IP, Home

# What we need; further down what the kubelet changes by itself and `down` puts back.
_WANTED = {
    "net/ipv4/ip_forward": "1",
    "net/bridge/bridge-nf-call-iptables": "1",
}
_KUBELET = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
    "net/ipv4/conf/all/route_localnet",
)
_SYS = Path("/proc/sys")


def set_up(home: Home) -> bool:
    """Create bridge and rules.

    Returns:
        Whether bridged packets pass iptables; without it kube-proxy must masquerade all.

    Raises:
        StartError: ip or iptables refused.
    """
    with contextlib.suppress(FileNotFoundError):
        subprocess.run(["modprobe", "-a", "br_netfilter", "overlay"], capture_output=True)
    _ip("link", "add", BRIDGE, "type", "bridge")
    _ip("address", "add", f"{NODE_IP}/16", "dev", BRIDGE)
    _ip("link", "set", BRIDGE, "up")
    # Host processes reach ClusterIPs even on a machine without a default route.
    _ip("route", "add", SERVICE_CIDR, "dev", BRIDGE, "src", NODE_IP)
    _remember_sysctls(home)
    for name, value in _WANTED.items():
        with contextlib.suppress(OSError):
            (_SYS / name).write_text(value)
    complaint = iptables.restore(iptables.SETUP)
    if complaint:
        raise StartError(f"iptables refused our rules: {complaint}; is nf_tables in this kernel?")
    return (_SYS / "net/bridge/bridge-nf-call-iptables").exists()


def tear_down(home: Home) -> None:
    """Remove bridge and rules, put kernel settings back; what resists shows as a leftover."""
    if owns_rules():
        for family in ("", "6"):
            rules = iptables.removal(iptables.save(family))
            if rules:
                iptables.restore(rules, family)
    if bridge_exists():
        subprocess.run(["ip", "link", "delete", BRIDGE], capture_output=True, check=False)
    _restore_sysctls(home)


def bridge_exists() -> bool:
    """Say whether our bridge is there."""
    return Path("/sys/class/net", BRIDGE).exists()


def owns_rules() -> bool:
    """Say whether the KUBE-* chains on this machine are ours."""
    return ("filter", iptables.CHAIN) in iptables.chains(iptables.save())


def foreign_kube_chains() -> bool:
    """Say whether another Kubernetes node, or what it left, has rules on this machine."""
    return not owns_rules() and bool(iptables.chains(iptables.save()))


def _remember_sysctls(home: Home) -> None:
    names = (*_WANTED, *_KUBELET)
    values = {n: (_SYS / n).read_text().strip() for n in names if (_SYS / n).exists()}
    (home.run / "sysctl.json").write_text(json.dumps(values))


def _restore_sysctls(home: Home) -> None:
    try:
        values = json.loads((home.run / "sysctl.json").read_text())
    except (FileNotFoundError, ValueError):
        return
    for name, value in values.items():
        path = _SYS / name
        if path.exists() and path.read_text().strip() != value:
            with contextlib.suppress(OSError):
                path.write_text(value)


def _ip(*arguments: str) -> None:
    answer = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if answer.returncode:
        raise StartError(
            f"`ip {' '.join(arguments)}` failed: {answer.stderr.strip()}; run `down` and try again"
        )
