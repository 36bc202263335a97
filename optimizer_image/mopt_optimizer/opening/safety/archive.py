"""A .pt2 as an archive: known records only, written anew for torch."""

from __future__ import annotations

import json
import re
import shutil
import stat
import zipfile
from pathlib import Path
from typing import Any

from mopt_optimizer.errors import ModelError, UnsafeModelError
from mopt_optimizer.store.writing import disk_errors

from ..limits import MAX_JSON_BYTES, MAX_JSON_VALUES, MAX_NODES, MAX_REPEATED_VALUES, amount
from .pickles import check_torch_save
from .program import check_program
from .zips import zip_errors

MAX_RECORDS = 100_000
MAX_SAMPLE_BYTES = 256 * 1024 * 1024

_MODEL = "models/model.json"
_CONFIGS = (
    "data/weights/model_weights_config.json",
    "data/constants/model_constants_config.json",
)
_SAMPLES = "data/sample_inputs/model.pt"
_REQUIRED = ("archive_format", "archive_version", _MODEL, *_CONFIGS)
_VALUES = re.compile(r"data/(?:weights/weight|constants/tensor)_[0-9]{1,9}", re.A)
_DROPPED = re.compile(
    r"byteorder|version|\.data/(?:version|serialization_id)|\.format_version|\.storage_alignment"
    r"|extra/[\w.-]{1,200}",
    re.A,
)
_UNIX_SYMLINK = stat.S_IFLNK


def rewrite_pt2(source: Path, target: Path) -> None:
    """Check a .pt2 and write what was checked as a new one, which torch may open.

    Sample inputs (pickles) and extra files are left out. Only torch's own zip reader is given a
    file, and never this one, so that the two readers cannot be made to disagree.

    Args:
        target: Is written; its name must end in .pt2.

    Raises:
        UnsafeModelError: Opening the file would run code that it carries.
        ModelError: It is not what torch.export.save writes, or is damaged.
        DiskError: No space for the copy.
    """
    with zip_errors(".pt2"):
        if not zipfile.is_zipfile(source):
            raise ModelError(
                f"not a .pt2 of torch.export.save: no zip archive ({source.stat().st_size} bytes; "
                "another format, or truncated)"
            )
        with zipfile.ZipFile(source) as archive:
            records = _records(archive, source.stat().st_size)
            _check(archive, records)
            with disk_errors(str(target)):
                _write(archive, records, target)


def _records(archive: zipfile.ZipFile, file_size: int) -> dict[str, zipfile.ZipInfo]:
    """Return the records by their name below the archive's top folder.

    Raises:
        UnsafeModelError: A name, kind or size that torch never writes.
    """
    entries = archive.infolist()
    if not 0 < len(entries) <= MAX_RECORDS:
        raise ModelError(f".pt2 with {len(entries)} records")
    if min(entry.header_offset for entry in entries) != 0:
        # The end of a zip was found, but of one inside: sample inputs are a zip themselves.
        raise ModelError("damaged .pt2: truncated, or something stands before the archive")
    if sum(entry.file_size for entry in entries) > file_size:
        raise UnsafeModelError(".pt2 whose records together are larger than the file (zip bomb)")
    records: dict[str, zipfile.ZipInfo] = {}
    tops = set()
    for entry in entries:
        top, _, name = entry.filename.partition("/")
        tops.add(top)
        shown = entry.filename[:80]
        if entry.filename != entry.orig_filename or not _is_plain(entry.filename):
            raise UnsafeModelError(f".pt2 with the record name {shown!r}")
        if name in records:
            raise UnsafeModelError(f".pt2 with two records {shown!r}")
        if stat.S_IFMT(entry.external_attr >> 16) == _UNIX_SYMLINK:
            raise UnsafeModelError(f".pt2 with a symbolic link {shown!r}")
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            raise UnsafeModelError(f".pt2 with a compressed or encrypted record {shown!r}")
        records[name] = entry
    if len(tops) != 1:
        raise ModelError(f".pt2 with {len(tops)} top folders instead of one")
    if missing := [name for name in _REQUIRED if name not in records]:
        raise _missing(missing, records)
    return records


def _missing(missing: list[str], records: dict[str, zipfile.ZipInfo]) -> ModelError:
    for name in records:
        if name.endswith((".pt", ".pkl")) and name != _SAMPLES:
            return UnsafeModelError(f".pt2 of an old form: {name} is a pickle")
    return ModelError(f"not a .pt2 of torch.export.save: it lacks {', '.join(missing)}")


def _is_plain(name: str) -> bool:
    parts = name.split("/")
    return (
        name.isascii()
        and name.isprintable()
        and "\\" not in name
        and ":" not in name
        and not any(part in ("", ".", "..") for part in parts)
    )


def _check(archive: zipfile.ZipFile, records: dict[str, zipfile.ZipInfo]) -> None:
    for name in records:
        if name in _REQUIRED or name == _SAMPLES or _VALUES.fullmatch(name):
            continue
        if not _DROPPED.fullmatch(name):
            raise UnsafeModelError(f".pt2 with the record {name[:80]!r}: {_why(name)}")
    if archive.read(records["archive_format"]).strip() != b"pt2":
        raise ModelError("not a .pt2: its archive_format is another")
    if "byteorder" in records and archive.read(records["byteorder"]).strip() != b"little":
        raise ModelError(".pt2 of a big-endian machine")
    for name in (_MODEL, *_CONFIGS):
        document = _json(archive, records[name], name)
        check_program(document, name)
        if name in _CONFIGS:
            _check_payloads(document, name, records)
    if _SAMPLES in records:
        if records[_SAMPLES].file_size > MAX_SAMPLE_BYTES:
            raise ModelError(f"{_SAMPLES} has more than {MAX_SAMPLE_BYTES} bytes")
        check_torch_save(archive.read(records[_SAMPLES]), _SAMPLES)


def _why(name: str) -> str:
    if name.endswith((".pt", ".pkl")) or "custom_obj" in name or "opaque_obj" in name:
        return "a pickle or custom object"
    if name.startswith("data/aotinductor"):
        return "compiled code"
    return "not one that torch.export.save writes for one model named 'model'"


def _json(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> dict[str, Any]:
    if entry.file_size > MAX_JSON_BYTES:
        raise ModelError(f"{name} has more than {MAX_JSON_BYTES} bytes")
    text = archive.read(entry)
    values = sum(map(text.count, (b",", b"[", b"{")))
    if values > MAX_JSON_VALUES:
        raise ModelError(f"{name} has {values} values; up to {MAX_JSON_VALUES} are read")
    if (nodes := text.count(b'"target"')) > MAX_NODES:
        raise ModelError(f"{name} has {nodes} nodes; up to {MAX_NODES} are read")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{name} is not JSON: {str(error)[:200]}") from error
    if not isinstance(document, dict):
        raise ModelError(f"{name} is not a JSON object")
    return document


def _check_payloads(
    document: dict[str, Any], name: str, records: dict[str, zipfile.ZipInfo]
) -> None:
    payloads = document.get("config")
    if not isinstance(payloads, dict):
        raise ModelError(f"{name} has no config")
    folder = name.rpartition("/")[0]
    for payload_name, payload in payloads.items():
        record = payload.get("path_name") if isinstance(payload, dict) else None
        entry = records.get(f"{folder}/{record}")
        if entry is None:
            raise ModelError(f"{name} names no record for {payload_name}")
        _check_extent(payload.get("tensor_meta"), entry.file_size, f"{name}, {payload_name}")


def _check_extent(meta: object, record_bytes: int, where: str) -> None:
    """Check that a tensor is not far larger than its record, which torch would fill with zeros."""
    sizes = meta.get("sizes") if isinstance(meta, dict) else None
    values = 1
    for size in sizes if isinstance(sizes, list) else [None]:
        number = size.get("as_int") if isinstance(size, dict) else None
        if not isinstance(number, int) or not 0 <= number < 2**63:
            raise ModelError(f"{where} has the sizes {str(sizes)[:80]}")
        values *= number
    # A weight may stand for many places, with a stride of 0.
    most = max(record_bytes, MAX_REPEATED_VALUES) if record_bytes else 0
    if values > most:
        raise ModelError(f"{where} has {amount(values)} values, its record {record_bytes} bytes")


def _write(archive: zipfile.ZipFile, records: dict[str, zipfile.ZipInfo], target: Path) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED, allowZip64=True) as copy:
        for name, entry in records.items():
            if name not in _REQUIRED and not _VALUES.fullmatch(name):
                continue
            # Reading to the end also checks the CRC.
            written = zipfile.ZipInfo(f"model/{name}")
            with (
                archive.open(entry) as reader,
                copy.open(
                    written, "w", force_zip64=entry.file_size >= zipfile.ZIP64_LIMIT // 2
                ) as writer,
            ):
                shutil.copyfileobj(reader, writer, 1024 * 1024)
        # A ZipInfo, not a name, which would be given the time of day: equal programs, equal bytes.
        copy.writestr(zipfile.ZipInfo(f"model/{_SAMPLES}"), b"")
        copy.writestr(zipfile.ZipInfo("model/byteorder"), b"little")
        copy.writestr(zipfile.ZipInfo("model/.data/version"), b"6\n")
