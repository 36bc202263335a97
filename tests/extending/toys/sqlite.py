"""A store: objects in the table of an SQLite file, sqlite:///FILE.db/PREFIX."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import SplitResult

from mopt_api.jobs.plan import Credentials
from mopt_api.stores import SCHEMES, Scheme
from mopt_optimizer.errors import DataError, ObjectNotFound
from mopt_optimizer.store.base import MAX_READ_BYTES, Store
from mopt_optimizer.store.registry import STORES

SCHEMES["sqlite"] = Scheme(shape="sqlite:///FILE.db/PREFIX")
STORES["sqlite"] = f"{__name__}:open_uri"


def open_uri(
    uri: SplitResult, _credentials: Credentials, _environ: Mapping[str, str]
) -> tuple[Store, str] | None:
    """See registry.OpenUri."""
    file, separator, key = uri.path.partition(".db")
    return (SqliteStore(Path(f"{file}.db")), key.lstrip("/")) if separator else None


class SqliteStore:
    """Implements Store; a transaction makes an object appear whole or not at all."""

    def __init__(self, file: Path) -> None:
        self._file = file
        with self._connection() as db:
            db.execute("CREATE TABLE IF NOT EXISTS objects (key TEXT PRIMARY KEY, data BLOB)")

    def _connection(self) -> sqlite3.Connection:
        return sqlite3.connect(self._file)

    def _data(self, key: str) -> bytes | None:
        with self._connection() as db:
            row = db.execute("SELECT data FROM objects WHERE key = ?", [key]).fetchone()
        return None if row is None else bytes(row[0])

    def read(self, key: str, *, max_bytes: int = MAX_READ_BYTES) -> bytes:
        data = self._data(key)
        if data is None:
            raise ObjectNotFound(f"{self.uri(key)} does not exist")
        if len(data) > max_bytes:
            raise DataError(f"{self.uri(key)} has {len(data)} bytes, more than {max_bytes}")
        return data

    def fetch(self, key: str, path: Path) -> str:
        data = self.read(key, max_bytes=2**31)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return hashlib.sha256(data).hexdigest()

    def digest(self, key: str) -> str | None:
        data = self._data(key)
        return None if data is None else hashlib.sha256(data).hexdigest()

    def put_file(self, key: str, path: Path) -> None:
        self.put_bytes(key, path.read_bytes())

    def put_bytes(self, key: str, data: bytes) -> None:
        with self._connection() as db:
            db.execute("INSERT OR REPLACE INTO objects VALUES (?, ?)", [key, data])

    def size(self, key: str) -> int | None:
        data = self._data(key)
        return None if data is None else len(data)

    def list(self, prefix: str) -> list[str]:
        with self._connection() as db:
            keys = [row[0] for row in db.execute("SELECT key FROM objects ORDER BY key")]
        return [key for key in keys if key.startswith(prefix)]

    def uri(self, key: str) -> str:
        return f"sqlite://{self._file}/{key}"
