"""A TorchScript archive: its code read as text, and written anew for torch.

torch.jit.load compiles the archive's code and runs the __setstate__ methods in it. That code cannot
import Python, but it can call every registered operator: some read and write files, others come
from extensions. The pickles beside it are read by torch's own reader, which makes no Python object.
"""

from __future__ import annotations

import ast
import re
import shutil
import zipfile
from pathlib import Path

from mopt_optimizer.errors import ModelError, UnsafeModelError
from mopt_optimizer.store.writing import disk_errors

from .pickles import check_pickle

MAX_RECORDS = 100_000
MAX_CODE_BYTES = 64 * 1024 * 1024

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
# Operators that open files; a tensor's methods are operators too.
_REFUSED_NAMES = {"save", "from_file", "load", "fork", "classes"}
_NAMESPACES = {"aten", "prim", "prims"}


def rewrite_torchscript(source: Path, target: Path) -> None:
    """Check a TorchScript archive and write what was checked as a new one, which torch may open.

    Raises:
        UnsafeModelError: Opening or running it would reach files or extensions.
        ModelError: It is not what torch.jit.save writes, or is damaged.
        DiskError: No space for the copy.
    """
    if not zipfile.is_zipfile(source):
        raise ModelError(
            f"not a TorchScript file: no zip archive ({source.stat().st_size} bytes; another "
            "format, or truncated)"
        )
    try:
        with zipfile.ZipFile(source) as archive:
            records = _records(archive, source.stat().st_size)
            for name, entry in records.items():
                if _CODE.fullmatch(name):
                    check_code(archive.read(entry), name)
                elif name in _PICKLES:
                    check_pickle(archive.read(entry), name, also=_GLOBALS)
            with disk_errors(str(target)):
                _write(archive, records, target)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise ModelError(f"damaged TorchScript file: {error}") from error


def _records(archive: zipfile.ZipFile, file_size: int) -> dict[str, zipfile.ZipInfo]:
    entries = archive.infolist()
    if not 0 < len(entries) <= MAX_RECORDS:
        raise ModelError(f"TorchScript file with {len(entries)} records")
    code = sum(e.file_size for e in entries if e.compress_type != zipfile.ZIP_STORED)
    if code > MAX_CODE_BYTES or sum(e.file_size for e in entries) > file_size + MAX_CODE_BYTES:
        raise UnsafeModelError("TorchScript file that unpacks to far more than its size (zip bomb)")
    records: dict[str, zipfile.ZipInfo] = {}
    for entry in entries:
        name = entry.filename.partition("/")[2]
        if entry.filename != entry.orig_filename or ".." in name or name in records:
            raise UnsafeModelError(f"TorchScript file with the record {entry.filename[:80]!r}")
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


def check_code(source: bytes, where: str) -> None:
    """Check a file of TorchScript code.

    Raises:
        UnsafeModelError: It calls an operator that reaches files, or one of an extension.
        ModelError: It is not code that torch.jit.save writes.
    """
    try:
        tree = ast.parse(source.decode())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ModelError(f"{where} is not TorchScript: {error}") from error
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            raise UnsafeModelError(f"{where} imports modules")
        name = _named(node)
        if name in _REFUSED_NAMES:
            raise UnsafeModelError(f"{where} uses {name!r}, which can reach files or extensions")
        match node:
            case ast.Attribute(value=ast.Name(id="ops"), attr=space) if space not in _NAMESPACES:
                raise UnsafeModelError(f"{where} calls operators of the extension {space!r}")


def _named(node: ast.AST) -> str | None:
    """Return the attribute that a node reads, by a dot or by getattr."""
    match node:
        case ast.Attribute(attr=attr):
            return attr
        case ast.Call(func=ast.Name(id="getattr"), args=[_, ast.Constant(value=str() as attr), *_]):
            return attr
    return None


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
