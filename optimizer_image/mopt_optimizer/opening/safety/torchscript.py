"""A TorchScript archive: its code read as text, and written anew for torch.

torch.jit.load compiles the archive's code, computes its constants and runs the __setstate__ methods
in it. That code cannot import Python, but it could call every registered operator: script_code.py
says which it may. The pickles beside it are read by torch's own reader, which makes no Python
object.
"""

from __future__ import annotations

import re
import shutil
import zipfile
from pathlib import Path

from mopt_optimizer.errors import ModelError, UnsafeModelError
from mopt_optimizer.store.writing import disk_errors

from ..limits import MAX_CODE_BYTES
from .pickles import check_pickle
from .script_code import check_code
from .storages import check_storages
from .zips import zip_errors

MAX_RECORDS = 100_000
MAX_COMPRESSED_BYTES = 64 * 1024 * 1024

_CODE = re.compile(r"code/__torch__(?:/[\w.]{1,200}){0,30}\.py", re.A)
_PICKLES = ("data.pkl", "constants.pkl")
_VALUES = re.compile(r"(?:data|constants)/[0-9]{1,9}", re.A)
_DROPPED = re.compile(
    r"code/.{1,400}\.debug_pkl|traced_inputs(?:\.pkl|/[0-9]{1,9})|byteorder"
    r"|\.data/(?:version|serialization_id)|\.format_version|\.storage_alignment",
    re.A,
)
_GLOBALS = re.compile(
    r"__torch__(?!\.torch\.classes)(?:\.\w+)* \w+"
    r"|torch\.jit\._pickle (?:build_(?:int|tensor|double|bool)list|restore_type_tag)",
    re.A,
)


def rewrite_torchscript(source: Path, target: Path) -> None:
    """Check a TorchScript archive and write what was checked as a new one, which torch may open.

    Raises:
        UnsafeModelError: Opening or running it would reach files or extensions.
        ModelError: It is not what torch.jit.save writes, is damaged, or too much work to open.
        DiskError: No space for the copy.
    """
    with zip_errors("TorchScript file"):
        if not zipfile.is_zipfile(source):
            raise ModelError(
                f"not a TorchScript file: no zip archive ({source.stat().st_size} bytes; another "
                "format, or truncated)"
            )
        with zipfile.ZipFile(source) as archive:
            records = _records(archive, source.stat().st_size)
            for name in _PICKLES:
                content = archive.read(records[name])
                check_pickle(content, name, also=_GLOBALS)
                check_storages(content, _values(records, name.removesuffix(".pkl")), name)
            check_code(_code(archive, records))
            with disk_errors(str(target)):
                _write(archive, records, target)


def _values(records: dict[str, zipfile.ZipInfo], folder: str) -> dict[str, int]:
    """Return the bytes of each record of values in a folder, by its name there."""
    return {
        name.rpartition("/")[2]: entry.file_size
        for name, entry in records.items()
        if name.startswith(f"{folder}/")
    }


def _code(archive: zipfile.ZipFile, records: dict[str, zipfile.ZipInfo]) -> dict[str, bytes]:
    entries = {name: entry for name, entry in records.items() if _CODE.fullmatch(name)}
    size = sum(entry.file_size for entry in entries.values())
    if size > MAX_CODE_BYTES:
        raise ModelError(f"TorchScript of {size} bytes of code; up to {MAX_CODE_BYTES} are read")
    return {name: archive.read(entry) for name, entry in entries.items()}


def _records(archive: zipfile.ZipFile, file_size: int) -> dict[str, zipfile.ZipInfo]:
    entries = archive.infolist()
    if not 0 < len(entries) <= MAX_RECORDS:
        raise ModelError(f"TorchScript file with {len(entries)} records")
    packed = sum(e.file_size for e in entries if e.compress_type != zipfile.ZIP_STORED)
    unpacked = sum(e.file_size for e in entries)
    if packed > MAX_COMPRESSED_BYTES or unpacked > file_size + MAX_COMPRESSED_BYTES:
        raise UnsafeModelError("TorchScript file that unpacks to far more than its size (zip bomb)")
    records: dict[str, zipfile.ZipInfo] = {}
    for entry in entries:
        name = entry.filename.partition("/")[2]
        if entry.filename != entry.orig_filename or ".." in name or name in records:
            raise UnsafeModelError(f"TorchScript file with the record {entry.filename[:80]!r}")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UnsafeModelError(f"TorchScript file whose {name[:80]!r} is packed oddly")
        known = name in (*_PICKLES, "version") or _CODE.fullmatch(name) or _VALUES.fullmatch(name)
        if known:
            records[name] = entry
        elif not _DROPPED.fullmatch(name):
            raise UnsafeModelError(
                f"TorchScript file with the record {name[:80]!r}, which torch.jit.save never writes"
            )
    if missing := [name for name in (*_PICKLES, "version") if name not in records]:
        raise ModelError(f"not a TorchScript file: it lacks {', '.join(missing)}")
    return records


def _write(archive: zipfile.ZipFile, records: dict[str, zipfile.ZipInfo], target: Path) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED, allowZip64=True) as copy:
        for name, entry in records.items():
            # Reading to the end also checks the CRC.
            large = entry.file_size >= zipfile.ZIP64_LIMIT // 2
            with (
                archive.open(entry) as reader,
                copy.open(zipfile.ZipInfo(f"model/{name}"), "w", force_zip64=large) as writer,
            ):
                shutil.copyfileobj(reader, writer, 1024 * 1024)
        copy.writestr("model/byteorder", b"little")
