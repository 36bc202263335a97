"""Answers of a hostile program: lies, floods and silence."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

from attacker_scene import NO_ANSWER_OF_MINE, Reply, Scene, behaviour, channel, say, silent


@behaviour
def answer(scene: Scene) -> Reply:
    """Make files, then answer as told: options make, answer; ops names the requests meant.

    {parent} in the answer stands for the parent's number.
    """
    ops = scene.options.get("ops")
    if ops is not None and scene.request.get("op") not in ops:
        return scene.honest()
    for kind, *arguments in scene.options.get("make", []):
        _MAKERS[kind](scene.folder, *arguments)
    text = json.dumps(scene.options["answer"]).replace("{parent}", str(os.getppid()))
    return {"answer": json.loads(text)}


@behaviour
def error(scene: Scene) -> Reply:
    """Answer with an error: options kind, reason, message."""
    report = {name: scene.options[name] for name in ("reason", "message")}
    return {"error": {"kind": scene.options["kind"], "report": report}}


@behaviour
def raw(scene: Scene) -> Reply:
    """Write text, again and again where options says so, then be silent."""
    line = scene.options["text"].encode(errors="surrogateescape")
    line *= scene.options.get("times", 1)
    say(line)
    while scene.options.get("endless"):
        say(line)
    return silent(scene)


def _file(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _second_name(folder: Path, name: str, other: str) -> None:
    os.link(folder / name, folder / other)


def made_sparse(folder: Path, name: str, size: int, start: str = "") -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(start.encode("latin-1"))
        file.truncate(size)


def _largest(folder: Path, name: str, size: int, start: str = "") -> None:
    """Make a file of a size, or as large a one as may be."""
    try:
        made_sparse(folder, name, size, start)
    except OSError:
        made_sparse(folder, name, resource.getrlimit(resource.RLIMIT_FSIZE)[0], start)


def _folder(folder: Path, name: str) -> None:
    (folder / name).mkdir(parents=True)


def _nest(folder: Path, depth: int) -> None:
    """Make folders in each other, deeper than any path reaches."""
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(depth):
        with contextlib.suppress(FileExistsError):
            os.mkdir("d" * 100, dir_fd=at)
        inner = os.open("d" * 100, os.O_RDONLY | os.O_DIRECTORY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(at)


_MAKERS: dict[str, Callable[..., None]] = {
    "file": _file,
    "second-name": _second_name,
    "sparse": _largest,
    "folder": _folder,
    "nest": _nest,
}


@behaviour
def deaf(scene: Scene) -> Reply:
    """Answer what was never read: the parent's next requests fill the pipe."""
    say(json.dumps(NO_ANSWER_OF_MINE).encode() + b"\n")
    for _ in range(scene.options["answers"]):
        say(json.dumps(NO_ANSWER_OF_MINE).encode() + b"\n")
    return silent(scene)


def _sleeps() -> str:
    """Return how often the parent went to sleep: it does not while it waits in a read."""
    status = Path(f"/proc/{os.getppid()}/status").read_text()
    return next(line for line in status.splitlines() if line.startswith("voluntary"))


@behaviour
def thief(scene: Scene) -> Reply:
    """Read back what it wrote, between the parent's look for it and the parent's reading."""
    own = os.open(f"/proc/self/fd/{channel()}", os.O_RDONLY | os.O_NONBLOCK)
    for wait in range(1, 1_000_000):
        os.write(channel(), b" ")
        end = time.perf_counter_ns() + wait * 1000 % 100_000
        while time.perf_counter_ns() < end:
            pass
        try:
            os.read(own, 64)
        except BlockingIOError:
            continue
        before = _sleeps()
        time.sleep(1.2)
        if _sleeps() == before:
            break
    return silent(scene)


@behaviour
def dripping_log(scene: Scene) -> Reply:
    """Tell of progress in time, and make none."""
    while True:
        scene.log("load", "still at it")
        time.sleep(scene.options["every"])


@behaviour
def endless_log(scene: Scene) -> Reply:
    """Tell of progress as fast as it can."""
    while True:
        scene.log("load", "x")


@behaviour
def log(scene: Scene) -> Reply:
    """Tell of progress as options says, then answer honestly."""
    fields = {
        name * scene.options.get("times", 1): v for name, v in scene.options["fields"].items()
    }
    line = {"step": scene.options["step"], "message": scene.options["message"], "fields": fields}
    say(json.dumps({"log": line}).encode() + b"\n")
    return scene.honest()


@behaviour
def standard_error(scene: Scene) -> Reply:
    """Write to standard error: options text and bytes, then answer honestly."""
    text = scene.options["text"].encode("latin-1")
    left = scene.options.get("bytes", len(text))
    block = text * max(1, 65536 // len(text))
    while left > 0:
        left -= os.write(2, block[:left])
    return scene.honest()
