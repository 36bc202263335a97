"""The full cluster: one Kubernetes node on this machine."""

import os
import socket
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import cgroups, containerd, control_plane, host, leftovers, network, node, teardown
from .certificates import Identity
from .client import ApiClient, is_ready
from .errors import DevclusterError, HostError, NotRunningError, StartError
from .light import write_kubeconfigs
from .paths import (
    API_PORT,
    DNS_READY_PORT,
    KUBELET_HEALTH_PORT,
    NODE,
    NODE_IP,
    PROXY_HEALTH_PORT,
    Home,
)
from .processes import Processes, read_stat
from .progress import say
from .resolving import binaries

CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
NODE_COMPONENTS = ("containerd", "kubelet", "kube-proxy", "coredns")
PROGRAMS = (*CONTROL_PLANE, "kubelet", "kube-proxy", "coredns", "pause")
# Of a cluster with image volumes; otherwise Debian's.
CONTAINERD = ("containerd", "containerd-shim-runc-v2", "ctr")
# Seconds; alone the node needs about 12.
START_TIMEOUT = 120.0
DEFAULT_MAX_PODS = 110

_LOCK = "\0mopt-devcluster"


def up(home: Home, *, audit: bool, max_pods: int, image_volumes: bool = False) -> Path:
    """Start the cluster, or find it running, and return its kubeconfig's path.

    What is half up or was killed is cleared first; containerd's images stay.

    Args:
        image_volumes: With the feature gate ImageVolume, and a containerd that has them.

    Raises:
        HostError: This machine cannot run it.
        StartError: A component did not come up.
    """
    host.extend_path()
    host.require_linux_root()
    with _alone():
        kubeconfig = home.layout.kubeconfig("admin")
        if all(healthy for _name, healthy, _remark in status(home)):
            if home.bin.exists() is not image_volumes:
                raise StartError("it runs, but with other options; run `down` first")
            say("already up")
            return kubeconfig
        _refuse_neighbours(home)
        make_room(home)
        cni_bin = host.install_node_packages()
        programs = binaries((*PROGRAMS, *(CONTAINERD if image_volumes else ())))
        os.umask(0o022)
        if leftovers.find(home, keep_images=True):
            say("clearing an earlier cluster; its images stay, its objects do not")
            teardown.tear_down(home, keep_images=True)
        host.require_free_networks()
        _claim(home)
        try:
            _start(
                home,
                programs,
                cni_bin,
                audit=audit,
                max_pods=max_pods,
                image_volumes=image_volumes,
            )
        except BaseException:
            say(f"stopping what was started; the logs stay in {Processes(home.folder).logs}")
            teardown.stop(home)
            raise
        say("cluster ready")
        return kubeconfig


def make_room(home: Home) -> None:
    """Give up the images of earlier clusters where the disk has no room beside them.

    Raises:
        HostError: It has too little without them, too.
    """
    if not host.has_room(home.folder) and home.containerd_root.exists():
        say("clearing an earlier cluster and its images: the disk is short of space")
        teardown.tear_down(home, keep_images=False)
    host.require_disk(home.folder)


def down(home: Home, *, keep_images: bool) -> None:
    """Take the cluster down.

    Raises:
        LeftoverError: Something of ours stayed.
    """
    host.extend_path()
    host.require_linux_root()
    with _alone():
        if home.folder.exists() and any(home.folder.iterdir()):
            _require_ours(home)
        teardown.tear_down(home, keep_images=keep_images)
    say("nothing of the cluster is left" + (", except its images" if keep_images else ""))


def status(home: Home) -> list[tuple[str, bool, str]]:
    """Return name, health and a remark for each component."""
    processes = Processes(home.folder)
    alive = {name: processes.running(name) for name in (*CONTROL_PLANE, *NODE_COMPONENTS)}
    api = False
    ready = False
    if alive["kube-apiserver"]:
        client = api_client(home)
        api = is_ready(client)
        ready = api and node.is_ready(client)
    checks = {
        "kube-apiserver": (api, "readyz, default service account"),
        "kubelet": (_answers(KUBELET_HEALTH_PORT, "healthz") and ready, "healthz, node Ready"),
        "kube-proxy": (_answers(PROXY_HEALTH_PORT, "healthz"), "healthz"),
        "coredns": (_answers(DNS_READY_PORT, "ready"), "ready"),
    }
    lines = []
    for name, running in alive.items():
        well, remark = checks.get(name, (True, "process"))
        lines.append((name, running and well, remark))
    return lines


def api_client(home: Home) -> ApiClient:
    """Return a client with the administrator's rights."""
    return ApiClient(NODE_IP, API_PORT, home.layout.pki)


def kubeconfig(home: Home) -> Path:
    """Return the kubeconfig's path.

    Raises:
        NotRunningError: The cluster was not started.
    """
    path = home.layout.kubeconfig("admin")
    if not path.exists():
        raise NotRunningError("the full cluster is not up; start it with `up`")
    return path


def _own_containerd(home: Home, programs: dict[str, Path]) -> None:
    """Let containerd, its shim and ctr be found by their names, before Debian's."""
    home.bin.mkdir(parents=True)
    for name in CONTAINERD:
        (home.bin / name).symlink_to(programs[name])
    host.prefer(home.bin)


def _start(
    home: Home,
    programs: dict[str, Path],
    cni_bin: Path,
    *,
    audit: bool,
    max_pods: int,
    image_volumes: bool,
) -> None:
    say("starting control plane and containerd")
    teardown.ensure_private(home)
    if image_volumes:
        _own_containerd(home, programs)
    cgroups.create()
    bridged = network.set_up(home)
    _certify(home)
    processes = Processes(home.folder)
    layout = home.layout
    processes.start("etcd", control_plane.etcd_command(programs["etcd"], layout))
    if audit:
        layout.audit_policy.write_text(control_plane.audit_policy())
    command = control_plane.apiserver_command(
        programs["kube-apiserver"],
        layout,
        address=NODE_IP,
        port=API_PORT,
        audit=audit,
        image_volumes=image_volumes,
    )
    command += control_plane.kubelet_client_flags(layout.pki)
    command += control_plane.aggregation_flags(layout.pki)
    processes.start("kube-apiserver", command)
    containerd.start(home, cni_bin, lower_oom_score=host.may_lower_oom_score())
    containerd.import_pause(home, programs["pause"])
    client = api_client(home)
    processes.wait_for(
        "the API server",
        lambda: client.get("/readyz") == "ok",
        needs=("etcd", "kube-apiserver", "containerd"),
        timeout=START_TIMEOUT,
    )
    say("API ready; starting the node")
    manager = control_plane.controller_manager_command(programs["kube-controller-manager"], layout)
    processes.start("kube-controller-manager", manager)
    scheduler = control_plane.scheduler_command(programs["kube-scheduler"], layout)
    processes.start("kube-scheduler", scheduler)
    node.start(
        home,
        programs,
        client,
        masquerade_all=not bridged,
        max_pods=max_pods,
        image_volumes=image_volumes,
    )
    processes.wait_for(
        "the node",
        lambda: all(healthy for _name, healthy, _remark in status(home)),
        needs=(*CONTROL_PLANE, *NODE_COMPONENTS),
        timeout=START_TIMEOUT,
    )


def _certify(home: Home) -> None:
    layout = home.layout
    pki = layout.pki
    pki.folder.mkdir(parents=True, exist_ok=True)
    pki.folder.chmod(0o700)
    pki.create_authority("ca")
    pki.create_authority("front-proxy-ca")
    pki.issue("front-proxy-client", Identity("front-proxy-client"), "front-proxy-ca")
    pki.issue("apiserver", Identity("kube-apiserver", names=(*control_plane.API_NAMES, NODE_IP)))
    masters = ("system:masters",)
    pki.issue("apiserver-kubelet-client", Identity("apiserver-kubelet-client", masters))
    kubelet = Identity(f"system:node:{NODE}", ("system:nodes",), (NODE, NODE_IP))
    users = {
        "admin": Identity("admin", masters),
        "controller-manager": Identity("system:kube-controller-manager"),
        "scheduler": Identity("system:kube-scheduler"),
        "kubelet": kubelet,
        "proxy": Identity("system:kube-proxy"),
        "coredns": Identity("system:coredns"),
    }
    for name, identity in users.items():
        pki.issue(name, identity)
    pki.create_signing_key("sa")
    write_kubeconfigs(layout, f"https://{NODE_IP}:{API_PORT}", tuple(users))


def _refuse_neighbours(home: Home) -> None:
    ours = {record.pid for record in Processes(home.folder).everyone()}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in ours:
            continue
        try:
            name = (entry / "comm").read_text().strip()
        except OSError:
            continue
        if name in ("kubelet", "kube-proxy") and _in_our_network(int(entry.name)):
            raise HostError(
                f"another {name} runs here (pid {entry.name}); two nodes remove each other's "
                "rules and cgroups: stop it, or use that cluster"
            )
    if network.foreign_kube_chains():
        raise HostError(
            "another Kubernetes left its KUBE-* iptables chains here; stop it and run "
            "`kube-proxy --cleanup`, or reboot"
        )


def _in_our_network(pid: int) -> bool:
    """Say whether a live process shares our network namespace; kind's nodes do not."""
    stat = read_stat(pid)
    if stat is None or stat.state in ("Z", "X"):
        return False
    try:
        return os.readlink(f"/proc/{pid}/ns/net") == os.readlink("/proc/self/ns/net")
    except OSError:
        return False


def _claim(home: Home) -> None:
    if home.folder.exists() and any(home.folder.iterdir()):
        _require_ours(home)
    home.folder.mkdir(parents=True, exist_ok=True)
    home.mark.touch()


def _require_ours(home: Home) -> None:
    if not home.mark.exists():
        raise DevclusterError(
            f"{home.folder} holds files that are not the cluster's; point MOPT_DEVCLUSTER_DIR at "
            "an empty or new folder"
        )


def _answers(port: int, path: str) -> bool:
    try:
        url = f"http://{NODE_IP}:{port}/{path}"
        # No proxy: the address is on this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextmanager
def _alone() -> Iterator[None]:
    """Hold the machine-wide lock: an abstract socket, which leaves nothing behind."""
    with socket.socket(socket.AF_UNIX) as lock:
        waiting = False
        while True:
            try:
                lock.bind(_LOCK)
                break
            except OSError:
                if not waiting:
                    say("waiting for another `up` or `down`")
                waiting = True
                time.sleep(0.2)
        yield
