"""What mopt is running: its version, and a digest of its own files.

The version alone stays the same from one commit to the next, so what is kept under keys in a store
needs the digest too. It is the same from a checkout, an installed wheel and an image that only
copies the packages: it is taken of the files, wherever they lie.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

VERSION = "0.1.0"

_DIGITS = 12


@cache
def build_version(*packages: str, without: frozenset[str] = frozenset()) -> str:
    """Return the version with what the files of some packages or modules come to: 0.1.0+HEX.

    None of them is imported. Takes some milliseconds, once in a process.

    Args:
        packages: As imported; the order is of no account.
        without: Packages and modules in them whose files do not count.

    Raises:
        ModuleNotFoundError: There is none of that name.
    """
    digest = hashlib.sha256()
    for name in sorted({*packages}):
        for path, file in sorted(_files(name).items()):
            if _is_in(path, without):
                continue
            content = file.read_bytes()
            digest.update(f"{path}\0{len(content)}\0".encode())
            digest.update(content)
    return f"{VERSION}+{digest.hexdigest()[:_DIGITS]}"


def _files(name: str) -> dict[str, Path]:
    """Return the files of a package, or a module's one, by what they are called in the digest."""
    spec = find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(f"there is no module {name!r}", name=name)
    if spec.submodule_search_locations is None:
        return {f"{name}.py": Path(str(spec.origin))}
    (folder,) = map(Path, spec.submodule_search_locations)
    files = (file.relative_to(folder) for file in folder.rglob("*") if file.is_file())
    return {f"{name}/{file.as_posix()}": folder / file for file in files if _is_source(file)}


def _is_in(path: str, names: frozenset[str]) -> bool:
    """Return whether a file is of one of some packages or modules."""
    parts = path.removesuffix(".py").split("/")
    return any(".".join(parts[:end]) in names for end in range(1, len(parts) + 1))


def _is_source(file: Path) -> bool:
    """Return whether a file is the product's own: not compiled, nor what editors leave."""
    hidden = any(part.startswith(".") or part == "__pycache__" for part in file.parts)
    return not hidden and file.suffix != ".pyc"
