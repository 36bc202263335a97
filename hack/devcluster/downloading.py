"""Official downloads: short timeouts, SHA-256 checked, a host that failed is left alone."""

import hashlib
import http.client
import shutil
import tarfile
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from .progress import say
from .tools import Archive, Tool, checksum_for

# Seconds without an answer or a byte. Offline machines wait this long once per host.
TIMEOUT = 4.0

_failed_hosts: set[str] = set()


def download(tool: Tool, arch: str, target: Path) -> bool:
    """Fetch the official binary of a tool into a file.

    Returns:
        False when nothing is published or the host does not answer; the caller builds then.
    """
    if tool.download is None:
        return False
    archive = tool.download(arch)
    host = urlsplit(archive.url).hostname or ""
    if host in _failed_hosts:
        return False
    say(f"{tool.name} {tool.version}: downloading from {host}")
    packed = target.with_name(target.name + ".packed")
    try:
        listing = _read(archive.checksum_url)
        expected = checksum_for(listing, archive.url.rsplit("/", 1)[-1])
        if expected is None:
            say(f"{tool.name}: {host} gives no SHA-256 for it; not downloading")
            return False
        found = _save(archive.url, packed)
        if found != expected:
            say(f"{tool.name}: SHA-256 is {found}, {host} promises {expected}; thrown away")
            return False
        _unpack(archive, packed, target)
    except (OSError, http.client.HTTPException, tarfile.TarError, KeyError) as error:
        _failed_hosts.add(host)
        reason = getattr(error, "reason", error)
        say(f"{tool.name}: {host} did not deliver ({reason}); not asking it again")
        return False
    finally:
        packed.unlink(missing_ok=True)
    return True


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:  # noqa: S310 - https, from our table
        data: bytes = answer.read(1 << 20)
    return data.decode("ascii", "replace")


def _save(url: str, target: Path) -> str:
    digest = hashlib.sha256()
    with (
        urllib.request.urlopen(url, timeout=TIMEOUT) as answer,  # noqa: S310 - https, from our table
        target.open("wb") as out,
    ):
        while block := answer.read(1 << 20):
            digest.update(block)
            out.write(block)
    return digest.hexdigest()


def _unpack(archive: Archive, packed: Path, target: Path) -> None:
    if archive.member is None:
        packed.replace(target)
        return
    with tarfile.open(packed, "r:gz") as tar:
        source = tar.extractfile(archive.member)
        if source is None:
            raise KeyError(archive.member)
        with source, target.open("wb") as out:
            shutil.copyfileobj(source, out)
