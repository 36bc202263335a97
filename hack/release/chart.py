"""The chart's package. `helm package` writes the time of day into it, so it is packed again."""

from __future__ import annotations

import gzip
import io
import tarfile
import tempfile
from pathlib import Path

from .commands import run

_FILE_MODE, _FOLDER_MODE = 0o644, 0o755


def build(helm: Path, chart: Path, output: Path, epoch: int) -> Path:
    """Package a chart into a folder and return the file: the same bytes for the same commit.

    Raises:
        ReleaseError: Helm refuses the chart.
    """
    with tempfile.TemporaryDirectory(prefix="mopt-chart-") as scratch:
        run([helm, "package", chart, "--destination", scratch], cwd=chart)
        (packaged,) = Path(scratch).glob("*.tgz")
        target = output / packaged.name
        target.write_bytes(repacked(packaged.read_bytes(), epoch))
    return target


def repacked(package: bytes, epoch: int) -> bytes:
    """Return a .tgz with the same files in order of their names, all of one time and owner.

    Args:
        package: Another .tgz, of files and folders only.
        epoch: The time of all of it, in seconds.
    """
    packed = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(package), mode="r:gz") as old,
        gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=epoch) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old, key=lambda member: member.name):
            new.addfile(_plain(member, epoch), old.extractfile(member))
    return packed.getvalue()


def _plain(member: tarfile.TarInfo, epoch: int) -> tarfile.TarInfo:
    plain = tarfile.TarInfo(member.name)
    plain.type, plain.size, plain.mtime = member.type, member.size, epoch
    plain.mode = _FOLDER_MODE if member.isdir() else _FILE_MODE
    return plain
