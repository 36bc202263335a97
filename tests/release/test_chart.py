"""The chart's package: whatever was packed when, the bytes are of its files alone."""

from __future__ import annotations

import gzip
import io
import tarfile

from release.chart import repacked

EPOCH = 1_796_000_000
FILES = {"mopt/Chart.yaml": b"name: mopt\n", "mopt/templates/a.yaml": b"", "mopt/a.tpl": b"x" * 900}


def packed(names: list[str], *, mtime: int, mode: int, owner: str) -> bytes:
    """Return a package as helm, or another tool, writes it."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode = len(FILES[name]), mtime, mode
            member.uname = member.gname = owner
            archive.addfile(member, io.BytesIO(FILES[name]))
    return gzip.compress(content.getvalue(), 1, mtime=mtime)


def test_order_times_owners_and_modes_do_not_matter() -> None:
    one = packed(sorted(FILES), mtime=1, mode=0o600, owner="a")
    other = packed(sorted(FILES, reverse=True), mtime=2**31, mode=0o755, owner="b")
    assert repacked(one, EPOCH) == repacked(other, EPOCH)


def test_every_file_stays() -> None:
    package = repacked(packed([*FILES], mtime=1, mode=0o600, owner="a"), EPOCH)
    with tarfile.open(fileobj=io.BytesIO(package), mode="r:gz") as archive:
        members = archive.getmembers()
        found = {m.name: file.read() for m in members if (file := archive.extractfile(m))}
    assert found == FILES
    assert [m.name for m in members] == sorted(FILES)
    facts = {(m.mtime, m.mode, m.uid, m.gid, m.uname, m.gname) for m in members}
    assert facts == {(EPOCH, 0o644, 0, 0, "", "")}


def test_another_file_is_another_package() -> None:
    one, other = ([*FILES], [*FILES][:2])
    packages = [packed(names, mtime=1, mode=0o600, owner="a") for names in (one, other)]
    assert repacked(packages[0], EPOCH) != repacked(packages[1], EPOCH)
