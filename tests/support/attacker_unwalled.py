"""Runs every attempt without walls, each in a process of its own: what is refused here proves
nothing where it is refused behind walls.

    python -P -m attacker_unwalled TARGET OUTSIDE READABLE FOLDER
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import attacker_all
from attacker import World, tried


def main() -> None:
    """Print a line for each attempt."""
    target, *paths = sys.argv[1:]
    world = World(int(target), *map(Path, paths))
    for name in [name for names in attacker_all.BY_MODULE.values() for name in names]:
        if os.fork() == 0:
            os.write(2, tried(name, world).line().encode() + b"\n")
            os._exit(0)
        os.wait()


if __name__ == "__main__":
    main()
