"""Takes the full cluster down, in whatever state it is: up, half up, killed, rebooted."""

import contextlib
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from . import cgroups, leftovers, network
from .errors import LeftoverError
from .paths import PRIVATE, Home
from .processes import Processes, end


def tear_down(home: Home, *, keep_images: bool) -> None:
    """Remove everything of ours.

    Args:
        keep_images: Leave containerd's root, so that the next start needs no import.

    Raises:
        LeftoverError: Something stayed; it is named.
    """
    stop(home)
    _unmount(home)
    _uncover(home)
    if leftovers.current_mounts(home):
        raise LeftoverError(
            f"still mounted: {', '.join(leftovers.current_mounts(home))}; nothing was deleted; "
            "unmount them and run `down` again"
        )
    shutil.rmtree(home.run, ignore_errors=True)
    _remove_folder(home, keep_images=keep_images)
    left = leftovers.find(home, keep_images=keep_images)
    if left:
        raise LeftoverError(f"left behind: {'; '.join(left)}; run `down` again or remove by hand")


def stop(home: Home) -> None:
    """End all processes and undo what they need of the network; files and logs stay."""
    processes = Processes(home.folder)
    # The kubelet first: it would restart what is ended after it.
    for name in ("kubelet", "kube-proxy"):
        processes.stop(name, patience=3.0)
    _end_all(home, spare=("containerd",))
    cgroups.remove()
    # containerd writes its database to the end: it gets the time to close it.
    processes.stop("containerd", patience=10.0)
    _end_all(home, spare=())
    network.tear_down(home)


def ensure_private(home: Home) -> None:
    """Create the folders that cover fixed host folders, and the latter where missing."""
    made = []
    for place in PRIVATE:
        home.private(place).mkdir(parents=True, exist_ok=True)
        made += [str(p) for p in (place, *place.parents) if not p.exists()]
        place.mkdir(parents=True, exist_ok=True)
    # Deepest first, as they must be removed. On disk: a reboot must not make us forget.
    home.made.write_text(json.dumps(sorted(made, key=len, reverse=True)))


def _uncover(home: Home) -> None:
    """Remove the host folders that we had to create, if nobody put anything into them."""
    try:
        made: Sequence[str] = json.loads(home.made.read_text())
    except (FileNotFoundError, ValueError):
        return
    for place in made:
        with contextlib.suppress(OSError):
            Path(place).rmdir()


def _end_all(home: Home, spare: tuple[str, ...]) -> None:
    """Kill every process of ours; shims carry our marker through containerd."""
    processes = Processes(home.folder)
    spared = {r.pid for name in spare if (r := processes.record(name))}
    for _round in range(5):
        mine = [record for record in processes.everyone() if record.pid not in spared]
        if not mine:
            return
        end(mine, patience=0.0)


def _unmount(home: Home) -> None:
    for place in leftovers.current_mounts(home):
        subprocess.run(["umount", "--lazy", place], capture_output=True, check=False)


def _remove_folder(home: Home, *, keep_images: bool) -> None:
    if not home.folder.exists():
        return
    clear_imports(home)
    if not keep_images:
        # The folder may be a mount point of its own disk: then only its content goes.
        shutil.rmtree(home.folder, ignore_errors=True)
        return
    for entry in home.folder.iterdir():
        if entry in (home.containerd_root, home.mark):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink()


def clear_imports(home: Home) -> None:
    """Remove what imports that were cut off have written: nothing takes it up again."""
    content = home.containerd_root / "io.containerd.content.v1.content"
    shutil.rmtree(content / "ingest", ignore_errors=True)
