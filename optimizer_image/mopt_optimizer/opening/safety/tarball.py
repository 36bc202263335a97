"""An ONNX file and the files of its weights as one object: a plain tar archive."""

from __future__ import annotations

import itertools
import shutil
import tarfile
from pathlib import Path

from mopt_optimizer.errors import ModelError, UnsafeModelError
from mopt_optimizer.store.writing import disk_errors

MAX_FILES = 1000
_SUFFIX = ".onnx"
# Also places outside of the file, sizes of no file, and headers of headers without end.
_DAMAGE = (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError, OSError)


def is_tar(path: Path) -> bool:
    """Return whether a file is an uncompressed tar archive."""
    try:
        with tarfile.open(path, "r:") as archive:
            return archive.next() is not None
    except _DAMAGE:
        return False


def unpack_onnx(path: Path, folder: Path) -> Path:
    """Unpack an archive of one ONNX file and the files beside it; return the ONNX file.

    Args:
        folder: Is made; gets as many bytes as the archive has.

    Raises:
        UnsafeModelError: A name with a folder in it, a link, a device, or a sparse file.
        ModelError: Damaged, or not exactly one .onnx file.
        DiskError: No space.
    """
    folder.mkdir(parents=True)
    try:
        with tarfile.open(path, "r:") as archive:
            found = itertools.islice(archive, MAX_FILES + 2)
            members = [m for m in found if not (m.isdir() and m.name == ".")]
            if len(members) > MAX_FILES:
                raise ModelError(f"a tar of more than {MAX_FILES} files")
            names = [_checked_name(member) for member in members]
            if len({*names}) < len(names):
                raise ModelError(f"a tar of {len(names)} files, two of one name")
            models = [name for name in names if name.endswith(_SUFFIX)]
            if len(models) != 1:
                raise ModelError(f"a tar with {len(models)} {_SUFFIX} files instead of one")
            for member, name in zip(members, names, strict=True):
                source = archive.extractfile(member)
                assert source is not None  # noqa: S101 - it is a plain file
                with source, disk_errors(str(folder / name)), (folder / name).open("xb") as target:
                    shutil.copyfileobj(source, target, 1024 * 1024)
    except _DAMAGE as error:
        raise ModelError(f"damaged tar: {str(error)[:200]}") from error
    return folder / models[0]


def _checked_name(member: tarfile.TarInfo) -> str:
    name = member.name.removeprefix("./")
    plain = name not in ("", ".", "..") and name.isprintable() and not {*"/\\:"} & {*name}
    if not plain or not member.isreg() or member.issparse():
        raise UnsafeModelError(
            f"a tar with {member.name[:80]!r}: only plain files side by side are taken; weights of "
            "other folders go into one file by onnx.save(onnx.load('model.onnx'), 'flat.onnx', "
            "save_as_external_data=True, location='flat.data')"
        )
    if member.size < 0:
        raise ModelError(f"a tar with a file of {member.size} bytes")
    return name
