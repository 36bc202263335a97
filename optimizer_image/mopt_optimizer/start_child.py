"""The first code of a child: encloses it, then runs its module.

    python -P -m mopt_optimizer.start_child PARENT_PID WALLS_FD MODULE ARGUMENT...

It imports nothing that takes time: a parent that is killed while a child still loads its libraries
leaves nobody behind either.
"""

from __future__ import annotations

import os
import runpy
import sys

from mopt_optimizer.confinement.confine import WallMissing, confine, refusal
from mopt_optimizer.confinement.privileges import end_with
from mopt_optimizer.confinement.walls import Walls


def main() -> None:
    """Run a module as the main one, its arguments after its name."""
    parent, module = int(sys.argv[1]), sys.argv[3]
    end_with(parent)
    with os.fdopen(int(sys.argv[2])) as file:
        walls = Walls.from_json(file.read())
    try:
        for missing in confine(walls):
            print(f"sandbox: {missing}", file=sys.stderr)
    except WallMissing as error:
        print(refusal(str(error)), flush=True)
        sys.exit(1)
    sys.argv[:] = sys.argv[3:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
