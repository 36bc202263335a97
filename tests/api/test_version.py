"""The digest of mopt's own files: another for every change of them, and for nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import mopt_api
from mopt_api.version import VERSION, build_version


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of mopt_api under a name of its own, such as a package has that is installed."""
    shutil.copytree(Path(mopt_api.__path__[0]), tmp_path / "copied_api")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "copied_api"


def digest_of(*packages: str) -> str:
    """Return it as another process would: nothing is remembered."""
    build_version.cache_clear()
    return build_version(*packages)


def test_it_is_the_version_and_twelve_digits() -> None:
    version, digest = build_version("mopt_api").split("+")
    assert version == VERSION
    assert len(int(digest, 16).to_bytes(6)) == 6
    assert len(digest) == 12


def test_every_file_bears_on_it(copied: Path) -> None:
    seen = {digest_of("copied_api")}
    for file in ("enums.py", "jobs/plan.py", "py.typed"):
        path = copied / file
        path.write_bytes(path.read_bytes() + b"#")
        seen.add(digest_of("copied_api"))
    (copied / "jobs" / "plan.py").rename(copied / "jobs" / "planned.py")
    seen.add(digest_of("copied_api"))
    (copied / "enums.py").unlink()
    seen.add(digest_of("copied_api"))
    assert len(seen) == 6


def test_what_is_compiled_or_hidden_is_not_of_it(copied: Path) -> None:
    before = digest_of("copied_api")
    (copied / "__pycache__").mkdir(exist_ok=True)
    (copied / "__pycache__" / "enums.cpython-311.pyc").write_bytes(b"compiled")
    (copied / ".enums.py.swp").write_bytes(b"an editor's")
    assert digest_of("copied_api") == before


def test_an_extension_bears_on_it(copied: Path) -> None:
    (copied.parent / "an_extension.py").write_text("A = 1\n")
    plain, extended = digest_of("copied_api"), digest_of("copied_api", "an_extension")
    assert extended == digest_of("an_extension", "copied_api") != plain
    (copied.parent / "an_extension.py").write_text("A = 2\n")
    assert digest_of("copied_api", "an_extension") not in (plain, extended)


def test_what_is_left_out_does_not_bear_on_it(copied: Path) -> None:
    def digest() -> str:
        build_version.cache_clear()
        return build_version("copied_api", without=frozenset({"copied_api.jobs", "copied_api.crd"}))

    before = digest()
    for file in ("jobs/plan.py", "jobs/__init__.py", "crd.py"):
        (copied / file).write_bytes(b"# other")
    assert digest() == before
    (copied / "enums.py").write_bytes(b"# other")
    assert digest() != before


def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(ModuleNotFoundError, match="no module 'nothing_of_ours'"):
        build_version("mopt_api", "nothing_of_ours")
