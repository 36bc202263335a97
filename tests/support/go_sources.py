"""The sources of the Go programs that devcluster builds: their authors' manifests lie in them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from devcluster.building import MODULES


def source_of(module: str, package: str) -> Path:
    """Return the folder of a Go module's source, in the version that devcluster builds."""
    download = ["go", "mod", "download", "-json", package]
    told = subprocess.run(
        download, cwd=MODULES / module, capture_output=True, text=True, check=True
    )
    return Path(json.loads(told.stdout)["Dir"])
