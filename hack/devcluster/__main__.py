"""Entry point of both ``python3 hack/devcluster`` and ``python3 -m devcluster``."""

import sys
from pathlib import Path

if not __package__:
    # Run as a folder: Python put the package itself on sys.path; its parent belongs there.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from devcluster.cli import main

if __name__ == "__main__":
    sys.exit(main())
