"""The light cluster: etcd, API server, controller manager; no root, any number side by side."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from . import control_plane as plane
from .certificates import Identity
from .client import ApiClient, api_port, is_ready
from .errors import DevclusterError, NotRunningError, StartError
from .kubeconfig import render_kubeconfig
from .ports import port_of, reserve
from .processes import Processes, end, read_stat
from .progress import say
from .resolving import binaries

ADDRESS = "127.0.0.1"
COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager")
# Seconds until `up --light` gives up; alone it needs about 4.
START_TIMEOUT = 60.0
# A Unix socket's path holds 107 characters; "/etcd.sock" and some air come after this.
LONGEST_RUNTIME = 85

_MARK = ".mopt-devcluster-light"


def up(folder: Path | None, *, audit_policy: str | None, parent_pid: int | None) -> Path:
    """Start a light cluster and return its kubeconfig's path.

    Args:
        folder: An absent or empty folder, or one of an earlier light cluster; None makes one.
        audit_policy: What goes into audit.log in the folder; None writes none.
        parent_pid: End the cluster when this process is gone.
    """
    programs = binaries(COMPONENTS)
    home = Path(tempfile.mkdtemp(prefix="mopt-light-")) if folder is None else folder.resolve()
    layout = plane.Layout(home, home / "run")
    if _healthy(home):
        say(f"already up in {home}")
        return layout.kubeconfig("admin")
    os.umask(0o077)
    _claim(home)
    try:
        _start(layout, programs, audit_policy)
    except BaseException as failure:
        # The logs are worth more than a tidy folder when a component failed.
        keep_logs = isinstance(failure, DevclusterError)
        _stop(home)
        if not keep_logs:
            _remove(home)
        raise
    if parent_pid is not None:
        _watch(home, parent_pid)
    say(f"light cluster ready in {home}")
    return layout.kubeconfig("admin")


def down(folder: Path) -> None:
    """End a light cluster and remove its folder.

    Raises:
        NotRunningError: The folder is not one of a light cluster.
    """
    home = folder.resolve()
    if not (home / _MARK).exists():
        raise NotRunningError(f"{home} holds no light cluster; give the --dir that `up` was given")
    _stop(home)
    _remove(home)
    say(f"light cluster in {home} is gone")


def status(folder: Path) -> list[tuple[str, bool, str]]:
    """Return name, health and a remark for each component."""
    processes = Processes(folder.resolve())
    lines = [(name, processes.running(name), "process") for name in COMPONENTS]
    return [*lines, ("api", _healthy(folder.resolve()), "readyz, default service account")]


def kubeconfig(folder: Path) -> Path:
    """Return the kubeconfig of a light cluster.

    Raises:
        NotRunningError: There is none in that folder.
    """
    path = plane.Layout(folder.resolve(), folder).kubeconfig("admin")
    if not path.exists():
        raise NotRunningError(f"no light cluster in {folder}; start it with `up --light --dir`")
    return path


def _claim(home: Path) -> None:
    if (home / _MARK).exists():
        say(f"clearing what an earlier light cluster left in {home}")
        _stop(home)
        _remove(home)
    elif home.exists() and any(home.iterdir()):
        raise StartError(f"{home} is not empty and not ours; give --dir an empty or new folder")
    home.mkdir(parents=True, exist_ok=True)
    (home / _MARK).touch()
    runtime = home / "run"
    if len(str(runtime)) > LONGEST_RUNTIME:
        runtime.symlink_to(tempfile.mkdtemp(prefix="mopt-run-"))
    else:
        runtime.mkdir()


def _start(layout: plane.Layout, programs: dict[str, Path], audit_policy: str | None) -> None:
    processes = Processes(layout.folder)
    short = plane.Layout(layout.folder, (layout.folder / "run").resolve())
    processes.start("etcd", plane.etcd_command(programs["etcd"], short))
    with reserve(ADDRESS) as holder:
        port = port_of(holder)
        (layout.folder / "api-port").write_text(f"{port}\n")
        _certify(layout, port)
        if audit_policy is not None:
            layout.audit_policy.write_text(audit_policy)
        command = plane.apiserver_command(
            programs["kube-apiserver"],
            short,
            address=ADDRESS,
            port=port,
            audit=audit_policy is not None,
        )
        # No Endpoints for the API server's own Service: a loopback address is not allowed there.
        # Image volumes, which serve a published model, are on by default from 1.35 only.
        extra = ("--endpoint-reconciler-type=none", "--feature-gates=ImageVolume=true")
        processes.start("kube-apiserver", [*command, *extra])
        client = ApiClient(ADDRESS, port, layout.pki)
        processes.wait_for(
            "the API server",
            lambda: client.get("/livez/ping") is not None,
            needs=("etcd", "kube-apiserver"),
            timeout=START_TIMEOUT,
        )
    command = plane.controller_manager_command(programs["kube-controller-manager"], layout)
    # Nodes here are played, and renew no leases.
    processes.start("kube-controller-manager", [*command, "--node-monitor-grace-period=24h"])
    processes.wait_for(
        "the light cluster", lambda: is_ready(client), needs=COMPONENTS, timeout=START_TIMEOUT
    )


def _certify(layout: plane.Layout, port: int) -> None:
    pki = layout.pki
    pki.create_authority("ca")
    pki.issue("apiserver", Identity("kube-apiserver", names=(*plane.API_NAMES, ADDRESS)))
    pki.issue("admin", Identity("admin", ("system:masters",)))
    pki.issue("controller-manager", Identity("system:kube-controller-manager"))
    pki.create_signing_key("sa")
    write_kubeconfigs(layout, f"https://{ADDRESS}:{port}", ("admin", "controller-manager"))


def write_kubeconfigs(layout: plane.Layout, server: str, users: tuple[str, ...]) -> None:
    """Write a kubeconfig for each user that has a certificate."""
    pki = layout.pki
    authority = pki.certificate("ca").read_bytes()
    for user in users:
        path = layout.kubeconfig(user)
        certificate, key = pki.certificate(user).read_bytes(), pki.key(user).read_bytes()
        path.write_text(render_kubeconfig(server, authority, certificate, key))
        path.chmod(0o600)


def _healthy(home: Path) -> bool:
    port = api_port(home)
    processes = Processes(home)
    if port is None or not all(processes.running(name) for name in COMPONENTS):
        return False
    return is_ready(ApiClient(ADDRESS, port, plane.Layout(home, home).pki))


def _stop(home: Path) -> None:
    processes = Processes(home)
    # Nothing in here is kept, so nothing needs a graceful end; the API server's takes seconds.
    end([r for r in processes.everyone() if r.pid != os.getpid()], patience=0.0)


def _remove(home: Path) -> None:
    runtime = home / "run"
    if runtime.is_symlink():
        shutil.rmtree(runtime.resolve(), ignore_errors=True)
    shutil.rmtree(home)


def _watch(home: Path, parent_pid: int) -> None:
    stat = read_stat(parent_pid)
    if stat is None:
        _stop(home)
        _remove(home)
        raise StartError(f"--parent-pid {parent_pid} is no process; nothing was left running")
    program = Path(__file__).resolve().parent
    Processes(home).start(
        "watcher",
        [
            *(sys.executable, program, "watch", "--dir", home),
            *("--parent-pid", str(parent_pid), "--start-ticks", str(stat.start_ticks)),
        ],
    )
