"""An image with its proof in a registry: verified from there, and damaged on its disk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from proved_image import Keys, Pushed, publish
from registry import Registry, running_registry

from mopt_api.jobs.publishing import REGISTRY_AUTH_VARIABLE
from mopt_optimizer.errors import OptimizerError
from mopt_optimizer.proofs.bundles import PublicKey
from mopt_optimizer.proofs.verify import Verdict, verify
from mopt_optimizer.proofs.wanted import Wanted
from mopt_optimizer.publishing.registry import open_registry


@dataclass(frozen=True)
class Served:
    """An image that a registry serves."""

    registry: Registry
    repository: str
    digest: str

    def verified(self, name: str, key: Path) -> list[Verdict]:
        nowhere = {REGISTRY_AUTH_VARIABLE: str(self.registry.folder / "none.json")}
        with open_registry(self.repository, nowhere, insecure=True) as opened:
            return verify(opened, name, PublicKey.load(key), Wanted())

    def blobs(self) -> list[Path]:
        """Return all that is stored, but indexes of referrers that a later one replaced."""
        tagged = {path.read_text() for path in self.registry.storage.rglob("tags/*/current/link")}
        stored = [path for path in self.registry.storage.rglob("data") if path.stat().st_size]
        return [
            path
            for path in sorted(stored)
            if b'"manifests":' not in path.read_bytes() or f"sha256:{path.parent.name}" in tagged
        ]


@pytest.fixture
def served(tmp_path: Path, keys: Keys) -> Iterator[Served]:
    with running_registry(tmp_path / "registry") as running:
        repository = running.repository("team/small")
        nowhere = {REGISTRY_AUTH_VARIABLE: str(tmp_path / "none.json")}
        with open_registry(repository, nowhere, insecure=True) as opened:
            digest = publish(Pushed(opened), tmp_path / "files", keys.private)
        yield Served(running, repository, digest)


def test_tag_and_digest_hold(served: Served, keys: Keys) -> None:
    by_tag = served.verified("latest", keys.public)
    assert [verdict.holds for verdict in by_tag] == [True, True]
    (image,) = served.verified(served.digest, keys.public)
    assert image.holds
    assert image == by_tag[1]


def test_every_damaged_object_is_refused(served: Served, keys: Keys) -> None:
    assert len(served.blobs()) > 12
    for path in served.blobs():
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        try:
            holds = all(verdict.holds for verdict in served.verified("latest", keys.public))
        except OptimizerError:
            holds = False
        assert not holds, content[:200]
        path.write_bytes(content)
    assert all(verdict.holds for verdict in served.verified("latest", keys.public))


def test_without_a_key_nothing_is_signed(tmp_path: Path, keys: Keys) -> None:
    with running_registry(tmp_path / "registry") as running:
        repository = running.repository("team/small")
        nowhere = {REGISTRY_AUTH_VARIABLE: str(tmp_path / "none.json")}
        with open_registry(repository, nowhere, insecure=True) as opened:
            digest = publish(Pushed(opened), tmp_path / "files", None)
            (verdict,) = verify(opened, digest, PublicKey.load(keys.public), Wanted())
            found = json.loads(opened.referrers(digest) or b"{}")
    assert not verdict.holds
    assert {check.message for check in verdict.checks} >= {"none is attached"}
    assert len(found["manifests"]) == 4
