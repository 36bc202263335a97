"""What a hostile program does to the machine, and to be rid of its parent."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from attacker_answers import made_sparse
from attacker_scene import FOREVER, Reply, Scene, behaviour, channel, silent

_MIB = 2**20


@behaviour
def busy(scene: Scene) -> Reply:
    """Compute for ever."""
    while True:
        pass


@behaviour
def stopped(scene: Scene) -> Reply:
    """Stop as by Ctrl-Z: no code of it runs any more."""
    os.kill(os.getpid(), signal.SIGSTOP)
    return silent(scene)


@behaviour
def closed(scene: Scene) -> Reply:
    """Close every descriptor, and live."""
    os.closerange(0, 64)
    return silent(scene)


@behaviour
def gone(scene: Scene) -> Reply:
    """End in order, without an answer."""
    os._exit(0)


@behaviour
def killed(scene: Scene) -> Reply:
    """End as a process does that the kernel kills."""
    os.kill(os.getpid(), signal.SIGKILL)
    return silent(scene)


@behaviour
def processes(scene: Scene) -> Reply:
    """Start many processes, each asleep."""
    for _ in range(scene.options["count"]):
        if os.fork() == 0:
            time.sleep(FOREVER)
            os._exit(0)
    return silent(scene)


@behaviour
def threads(scene: Scene) -> Reply:
    """Start many threads, each asleep."""
    threading.stack_size(65536)
    made = 0
    try:
        for made in range(scene.options["count"]):  # noqa: B007
            threading.Thread(target=time.sleep, args=(FOREVER,), daemon=True).start()
    except RuntimeError:
        print(f"{made} threads", file=sys.stderr, flush=True)
    return silent(scene)


@behaviour
def descriptors(scene: Scene) -> Reply:
    """Open files until there are no more to be had; answer honestly."""
    held: list[int] = []
    try:
        while len(held) < 100_000:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        print(f"opened {len(held)}", file=sys.stderr, flush=True)
    for number in held:
        os.close(number)
    return scene.honest()


@behaviour
def memory(scene: Scene) -> Reply:
    """Take memory until there is no more to be had."""
    held: list[bytearray] = []
    while True:
        held.append(bytearray(16 * _MIB))


@behaviour
def disk(scene: Scene) -> Reply:
    """Fill the disk: options bytes; how says where nobody may look."""
    folder = _PLACES[scene.options["how"]](scene.folder)
    file = os.open("fill", os.O_RDWR | os.O_CREAT, 0o600, dir_fd=folder)
    os.posix_fallocate(file, 0, scene.options["bytes"])
    if scene.options["how"] in ("unlinked", "mapped"):
        os.unlink("fill", dir_fd=folder)
    if scene.options["how"] == "mapped":
        held = mmap.mmap(file, mmap.PAGESIZE)
        os.close(file)
        assert held
    print("filled", file=sys.stderr, flush=True)
    return silent(scene)


def _opened(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)


def _deep(folder: Path) -> int:
    """Return a folder that no path is long enough for."""
    at = _opened(folder)
    for _ in range(64):
        os.mkdir("d" * 100, dir_fd=at)
        at = os.open("d" * 100, os.O_RDONLY | os.O_DIRECTORY, dir_fd=at)
    return at


def _broad(folder: Path) -> int:
    """Return the folder that comes last of very many."""
    for number in range(2000):
        (folder / str(number)).mkdir()
    return _opened(Path(list(os.scandir(folder))[-1].path))


def _unreadable(folder: Path) -> int:
    """Return a folder that its own owner cannot list, but write to."""
    (folder / "unreadable").mkdir(mode=0o300)
    return os.open(folder / "unreadable", os.O_PATH | os.O_DIRECTORY)


_PLACES: dict[str, Callable[[Path], int]] = {
    "plain": _opened,
    "unlinked": _opened,
    "mapped": _opened,
    "deep": _deep,
    "broad": _broad,
    "unreadable": _unreadable,
}


@behaviour
def files(scene: Scene) -> Reply:
    """Make many empty files."""
    for number in range(scene.options["count"]):
        os.close(os.open(scene.folder / str(number), os.O_CREAT | os.O_WRONLY, 0o600))
    return silent(scene)


@behaviour
def large_file(scene: Scene) -> Reply:
    """Make a file of any size, without data."""
    try:
        made_sparse(scene.folder, "model.onnx", scene.options["bytes"])
    except OSError as refused:
        print(f"refused: {refused}", file=sys.stderr, flush=True)
        return scene.honest()
    print("made", file=sys.stderr, flush=True)
    return scene.honest()


def _orphan(without: int | None = None) -> int:
    """Return the number of a process that is nobody's child any more.

    Args:
        without: A descriptor that it closes.
    """
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        if (own := os.fork()) == 0:
            for number in filter(None, (reading, writing, without)):
                os.close(number)
            time.sleep(FOREVER)
        os.write(writing, str(own).encode())
        os._exit(0)
    os.waitpid(child, 0)
    return int(os.read(reading, 16))


def _tell(folder: Path, pid: int) -> None:
    part = folder / "pid.part"
    part.write_text(str(pid))
    part.rename(folder / "pid")


@behaviour
def survivor(scene: Scene) -> Reply:
    """Leave a process behind that tries to outlive all; answer honestly, or not: options waits."""
    _tell(scene.folder, _orphan())
    return silent(scene) if scene.options.get("waits") else scene.honest()


@behaviour
def lasting(scene: Scene) -> Reply:
    """Try to outlive the parent: every signal ignored, the kernel's death signal cleared."""
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)
    _tell(scene.folder, os.getpid())
    return silent(scene)


@behaviour
def hostage(scene: Scene) -> Reply:
    """End, while an orphan holds standard error open; options output: the output in its place."""
    _orphan(without=channel() if not scene.options["output"] else None)
    os._exit(1)


def _machine_code(code: bytes) -> Callable[[], int]:
    memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    return ctypes.CFUNCTYPE(ctypes.c_int)(address)


@behaviour
def call_by_other_numbers(scene: Scene) -> Reply:
    """Call the kernel as a program of 32 bits does: a filter of numbers alone is blind to that."""
    # mov eax, 359 (socket); int 0x80; ret
    _machine_code(b"\xb8\x67\x01\x00\x00\xcd\x80\xc3")()
    return scene.honest()


@behaviour
def call_by_x32_numbers(scene: Scene) -> Reply:
    """Call the kernel by x32's numbers."""
    ctypes.CDLL(None).syscall(ctypes.c_long(0x40000000 | 41), 2, 1, 0)
    return scene.honest()
