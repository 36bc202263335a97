"""Stages the pages, has zensical build them, and looks at what came out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a folder
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from docs_site.offline import requests_outside
from docs_site.staging import stage

ROOT = Path(__file__).resolve().parents[2]
# As mkdocs.yml names them.
SOURCES, SITE = ROOT / ".state" / "docs", ROOT / ".state" / "site"


def main() -> int:
    """Build the site; return the exit status."""
    stage(ROOT, SOURCES, os.environ.get("DOCS_REPOSITORY", ""))
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    if status:
        return status
    outside = requests_outside(SITE)
    for line in outside:
        print(f"loads from elsewhere: {line}", file=sys.stderr)
    print(f"{SITE.relative_to(ROOT)}/index.html")
    return 1 if outside else 0


if __name__ == "__main__":
    raise SystemExit(main())
