"""Digests, and JSON that has the same digest for the same value."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def bytes_digest(data: bytes) -> str:
    """Return sha256:HEX of bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def file_digest(path: Path) -> str:
    """Return sha256:HEX of a local file."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def json_bytes(value: Any) -> bytes:
    """Return JSON that is the same for the same value: sorted keys, no blanks, UTF-8."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()
