"""An ONNX file's messages, counted in its bytes before a parser makes objects of them.

An empty message takes 2 bytes in a file and some hundred in memory.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import TYPE_CHECKING

from mopt_optimizer.errors import ModelError

from ..limits import MAX_MESSAGES, MAX_NODES

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor

# Shorter ones are not looked into: their length says enough.
_LOOKED_INTO = 512
_BYTES_PER_MESSAGE = 8
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT = 10
_NODE = "NodeProto"


class _Damaged(Exception):
    pass


def check_messages(path: Path, root: Descriptor) -> None:
    """Count the messages and strings of a file, as far as the limit.

    Args:
        root: Describes the file's message.

    Raises:
        ModelError: More than MAX_MESSAGES; or the file is no protobuf message.
    """
    size = path.stat().st_size
    if not size:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            count = _count(data, size, root)
        except (_Damaged, IndexError) as error:
            raise ModelError(
                f"not an ONNX model: {size} bytes that are another format, or truncated"
            ) from error
    if count > MAX_MESSAGES:
        raise ModelError(
            f"an ONNX file of {size} bytes with more than {MAX_NODES} nodes, or {MAX_MESSAGES} "
            "attributes, names and values; large models have a tenth of that"
        )


def _count(data: mmap.mmap, size: int, root: Descriptor) -> int:
    """Return the messages and strings; more than the limit where it is passed, or that of nodes."""
    count = nodes = 0
    pending = [(0, size, root)]
    while pending and count <= MAX_MESSAGES:
        position, end, kind = pending.pop()
        fields = kind.fields_by_number
        while position < end and count <= MAX_MESSAGES:
            tag, position = _varint(data, position)
            wire = tag & 7
            field = fields.get(tag >> 3)
            count += 1
            if wire == _LENGTH:
                length, position = _varint(data, position)
                nested = field.message_type if field is not None else None
                if nested is not None and nested.name == _NODE:
                    nodes += 1
                    if nodes > MAX_NODES:
                        return MAX_MESSAGES + 1
                if nested is not None and length > _LOOKED_INTO:
                    pending.append((position, position + length, nested))
                elif nested is not None:
                    count += length // _BYTES_PER_MESSAGE
                position += length
            elif wire == _VARINT:
                _, position = _varint(data, position)
            elif wire in (_FIXED64, _FIXED32):
                position += 8 if wire == _FIXED64 else 4
            else:
                raise _Damaged
        if position > end:
            raise _Damaged
    return count


def _varint(data: mmap.mmap, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(_MAX_VARINT):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value, position
    raise _Damaged
