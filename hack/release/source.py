"""The commit that is released: nothing else of a checkout, or of its time, reaches a release."""

from __future__ import annotations

import io
import subprocess
import tarfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from .commands import run
from .errors import ReleaseError


@dataclass(frozen=True)
class Commit:
    """A commit of this repository.

    Attributes:
        revision: Its full name.
        epoch: Its committer's time, in seconds.
    """

    revision: str
    epoch: int

    @property
    def time(self) -> datetime:
        """Return its time in UTC."""
        return datetime.fromtimestamp(self.epoch, UTC)

    @property
    def stamp(self) -> str:
        """Return its time as RFC 3339 has it."""
        return self.time.isoformat().replace("+00:00", "Z")


def head(root: Path) -> Commit:
    """Return the commit that is checked out.

    Raises:
        ReleaseError: This is no clone, or it holds what no commit does.
    """
    changed = run(["git", "status", "--porcelain"], cwd=root).splitlines()
    if changed:
        raise ReleaseError(
            f"a release is a commit, and {len(changed)} files differ from it, "
            f"such as {changed[0].split()[-1]}: commit them, or remove them"
        )
    revision, epoch = run(["git", "show", "-s", "--format=%H %ct", "HEAD"], cwd=root).split()
    return Commit(revision, int(epoch))


def export(root: Path, commit: Commit, target: Path) -> Path:
    """Write a commit's files to a folder, which is made; return it.

    Raises:
        ReleaseError: git failed.
    """
    result = subprocess.run(
        ["git", "archive", "--format=tar", commit.revision],
        cwd=root,
        capture_output=True,
        check=False,
    )
    if result.returncode:
        raise ReleaseError(f"git archive: {result.stderr.decode(errors='replace').strip()}")
    with tarfile.open(fileobj=io.BytesIO(result.stdout)) as archive:
        archive.extractall(target, filter="data")
    return target
