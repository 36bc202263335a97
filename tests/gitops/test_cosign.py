"""cosign, real, on an image that mopt publishes: signature, statements, and policies over them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from proved_image import Keys, make_keys
from proved_results import missed_gate, no_gates, other_data, too_far_from_it
from served_proofs import Served, served_proofs

from devcluster.resolving import binaries
from mopt_optimizer.proofs.bundles import PublicKey
from mopt_optimizer.proofs.referrer import QUALITY_PREDICATE, TEST_RESULT_PREDICATE
from mopt_optimizer.proofs.verify import verify
from mopt_optimizer.proofs.wanted import Wanted
from mopt_optimizer.publishing.registry import Registry, open_registry

pytestmark = pytest.mark.gitops

POLICIES = Path(__file__).resolve().parents[2] / "examples" / "gitops" / "policy"
CURVES = {"prime256v1": "sha256", "secp384r1": "sha384", "secp521r1": "sha512"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served_proofs(tmp_path_factory.mktemp("cosign")) as running:
        yield running


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def image(served: Served, keys: Keys) -> str:
    return served.publish("team/small", keys.private)


def cosign(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = binaries(["cosign"])["cosign"]
    return subprocess.run(
        [program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=os.environ | {"COSIGN_PASSWORD": ""},
    )


def offline(key: Path) -> tuple[str | Path, ...]:
    return ("--key", key, "--insecure-ignore-tlog", "--allow-http-registry")


def verified(image: str, key: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return cosign("verify", *offline(key), *more, image)


def attested(
    image: str, key: Path, predicate: str, *more: str | Path
) -> subprocess.CompletedProcess[str]:
    return cosign("verify-attestation", *offline(key), "--type", predicate, *more, image)


@pytest.mark.parametrize("curve", CURVES)
def test_signature_is_verified_with_each_curve(served: Served, tmp_path: Path, curve: str) -> None:
    made = make_keys(tmp_path, curve)
    image = served.publish(f"curves/{curve}", made.private)
    hashed = ("--signature-digest-algorithm", CURVES[curve]) if curve != "prime256v1" else ()
    done = verified(image, made.public, *hashed)
    assert done.returncode == 0, done.stderr
    assert image.rpartition("@")[2] in done.stdout


def test_the_index_that_tags_name_is_signed(image: str, keys: Keys) -> None:
    done = verified(f"{image.partition('@')[0]}:latest", keys.public)
    assert done.returncode == 0, done.stderr


def test_another_key_is_refused(image: str, tmp_path: Path) -> None:
    other = make_keys(tmp_path)
    assert verified(image, other.public).returncode != 0
    assert attested(image, other.public, QUALITY_PREDICATE).returncode != 0


@pytest.mark.parametrize("predicate", [QUALITY_PREDICATE, TEST_RESULT_PREDICATE])
def test_statements_are_attestations(image: str, keys: Keys, predicate: str) -> None:
    done = attested(image, keys.public, predicate)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[0])["payloadType"] == "application/vnd.in-toto+json"


@pytest.mark.parametrize("policy", ["quality.cue", "quality.rego"])
def test_policy_admits_what_was_proven(image: str, keys: Keys, policy: str) -> None:
    done = attested(image, keys.public, QUALITY_PREDICATE, "--policy", POLICIES / policy)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("policy", ["quality.cue", "quality.rego"])
@pytest.mark.parametrize("change", [other_data, missed_gate, no_gates, too_far_from_it])
def test_policy_refuses_the_rest(
    served: Served, keys: Keys, policy: str, change: Callable[[], dict[str, Any]]
) -> None:
    path = f"refused/{change.__name__}-{policy.partition('.')[2]}"
    image = served.publish(path, keys.private, **change())
    assert attested(image, keys.public, QUALITY_PREDICATE).returncode == 0
    done = attested(image, keys.public, QUALITY_PREDICATE, "--policy", POLICIES / policy)
    assert done.returncode != 0
    assert "1 validation errors occurred" in done.stderr


def _referrers(opened: Registry, digest: str) -> set[str]:
    """Return the digests of what refers to an image."""
    index = json.loads(opened.referrers(digest) or b'{"manifests": []}')
    return {entry["digest"] for entry in index["manifests"]}


def test_what_cosign_signs_itself_is_read(served: Served, tmp_path: Path, keys: Keys) -> None:
    """A signature of cosign's on our image, by a key that it imported, is one that we take."""
    image = served.publish("team/again", keys.private)
    repository, _, digest = image.partition("@")
    with open_registry(repository, served.environ, insecure=True) as opened:
        before = _referrers(opened, digest)
    imported = cosign(
        *("import-key-pair", "--key", keys.private, "--output-key-prefix", tmp_path / "cosign")
    )
    assert imported.returncode == 0, imported.stderr
    signed = cosign(
        *("sign", "--yes", "--key", tmp_path / "cosign.key", "--use-signing-config=false"),
        *("--tlog-upload=false", "--allow-http-registry", image),
    )
    assert signed.returncode == 0, signed.stderr
    with open_registry(repository, served.environ, insecure=True) as opened:
        (made,) = _referrers(opened, digest) - before
        manifest = opened.manifest(made)
        assert manifest is not None
        content = opened.read(json.loads(manifest.data)["layers"][0]["digest"])
        (verdict,) = verify(opened, digest, PublicKey.load(keys.public), Wanted())
    statement = PublicKey.load(keys.public).opened(content)
    assert statement["subject"][0]["digest"]["sha256"] == digest[7:]
    assert verdict.holds
