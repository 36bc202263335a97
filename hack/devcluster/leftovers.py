"""What of the full cluster is still on the machine."""

from pathlib import Path

from . import cgroups, iptables, network
from .paths import BRIDGE, Home
from .processes import Processes


def find(home: Home, *, keep_images: bool) -> list[str]:
    """Return one line for each process, mount, link, rule, cgroup and folder of ours."""
    found = [f"process {r.pid} ({r.name})" for r in Processes(home.folder).everyone()]
    found += [f"mount {place}" for place in mounts_below(_mounts(), home)]
    if network.bridge_exists():
        found.append(f"bridge {BRIDGE}")
    # Without our chain, KUBE-* chains belong to another Kubernetes.
    if network.owns_rules():
        found += [f"iptables chain {t} {c}" for t, c in iptables.chains(iptables.save())]
    found += [f"cgroup {root}" for root in cgroups.roots() if root.exists()]
    if home.run.exists():
        found.append(f"folder {home.run}")
    return found + folders_left(home, keep_images=keep_images)


def folders_left(home: Home, *, keep_images: bool) -> list[str]:
    """Return what of the cluster's folder should be gone and is not."""
    if not home.folder.exists():
        return []
    if not keep_images:
        return [f"folder {home.folder}"]
    kept = (home.containerd_root, home.mark)
    return [f"folder {entry}" for entry in sorted(home.folder.iterdir()) if entry not in kept]


def mounts_below(mounts: str, home: Home) -> list[str]:
    """Return the mount points at or below our folders, deepest first.

    Args:
        mounts: Text of /proc/mounts, in which a space in a path is written as backslash 040.
    """
    places = [line.split()[1].replace("\\040", " ") for line in mounts.splitlines() if " " in line]
    ours = (str(home.folder), str(home.run))
    mine = {p for p in places if any(p == o or p.startswith(f"{o}/") for o in ours)}
    return sorted(mine, key=len, reverse=True)


def _mounts() -> str:
    return Path("/proc/mounts").read_text()


def current_mounts(home: Home) -> list[str]:
    """Return our mounts on the host now, deepest first."""
    return mounts_below(_mounts(), home)
