"""The node's containerd: started in a mount namespace of its own, spoken to by ctr."""

import subprocess
from pathlib import Path

from . import oci
from .errors import ImageError, StartError
from .node_config import PAUSE_IMAGE, containerd_config
from .paths import PRIVATE, Home
from .processes import Processes
from .resolving import architecture

START_TIMEOUT = 30.0
PIN = "io.cri-containerd.pinned=pinned"

# Inside the new namespace: cover the fixed host folders, then become containerd.
# Mounts made here never show on the host and vanish with the last process.
_COVER = (
    'while [ "$1" != -- ]; do mount --bind "$1" "$2" || exit 1; shift 2; done; shift; exec "$@"'
)


def start(home: Home, cni_bin: Path, *, lower_oom_score: bool) -> None:
    """Start containerd; containers of an earlier life are removed first."""
    if (home.containerd_root / "io.containerd.metadata.v1.bolt").exists():
        _launch(home, cni_bin, lower_oom_score=lower_oom_score, cri=False)
        _remove_containers(home)
        Processes(home.folder).stop("containerd", patience=10.0)
    _launch(home, cni_bin, lower_oom_score=lower_oom_score, cri=True)


def ctr_command(home: Home, *arguments: str) -> list[str]:
    """Return a ctr command line for the namespace that the kubelet uses."""
    return ["ctr", "--address", str(home.containerd_socket), "-n", "k8s.io", *arguments]


def ctr(home: Home, *arguments: str) -> str:
    """Run ctr and return its output.

    Raises:
        ImageError: It failed.
    """
    command = ctr_command(home, *arguments)
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        detail = (answer.stderr.strip().splitlines() or ["no output"])[-1]
        raise ImageError(f"`ctr {' '.join(arguments[:3])}` failed: {detail}")
    return answer.stdout


def import_pause(home: Home, program: Path) -> None:
    """Make the sandbox image available, unless it already is."""
    if PAUSE_IMAGE not in ctr(home, "images", "list", "-q").split():
        layer = oci.single_file_layer(program, "pause")
        archive = oci.one_layer_image(layer, PAUSE_IMAGE, "/pause", architecture())
        answer = subprocess.run(
            ctr_command(home, "images", "import", "-"),
            input=archive,
            capture_output=True,
            check=False,
        )
        if answer.returncode:
            raise StartError(f"containerd refused the pause image: {answer.stderr.decode()}")
    ctr(home, "images", "label", PAUSE_IMAGE, PIN)


def enter(home: Home) -> list[str]:
    """Return the command prefix that runs a program in containerd's mount namespace.

    Raises:
        StartError: containerd does not run.
    """
    record = Processes(home.folder).record("containerd")
    if record is None:
        raise StartError("containerd does not run; run `down` and `up`")
    return ["nsenter", f"--mount=/proc/{record.pid}/ns/mnt", "--"]


def _launch(home: Home, cni_bin: Path, *, lower_oom_score: bool, cri: bool) -> None:
    config = home.run / "containerd.toml"
    config.write_text(containerd_config(home, cni_bin, lower_oom_score=lower_oom_score, cri=cri))
    cover: list[str | Path] = []
    for place in PRIVATE:
        cover += [home.private(place), place]
    processes = Processes(home.folder)
    processes.start(
        "containerd",
        [
            *("unshare", "--mount", "--propagation", "slave", "--"),
            *("sh", "-c", _COVER, "sh", *cover, "--"),
            *("containerd", "--config", config),
        ],
    )
    processes.wait_for(
        "containerd", lambda: _answers(home), needs=["containerd"], timeout=START_TIMEOUT
    )


def _answers(home: Home) -> bool:
    command = ctr_command(home, "version")
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _remove_containers(home: Home) -> None:
    names = ctr(home, "containers", "list", "-q").split()
    if names:
        ctr(home, "containers", "remove", *names)
