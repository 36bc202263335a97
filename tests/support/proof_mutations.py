"""Changes to an image that was published with its proof, each made by a seed.

Some are as a disk or a registry would damage bytes; the others are those of an attacker who may
write to the registry and names the changed bytes by their new digests, but has no key.
"""

from __future__ import annotations

import base64
import json
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proved_image import Folder, Keys, facts, make_keys

from mopt_optimizer.digests import json_bytes
from mopt_optimizer.proofs.predicates import quality_statement
from mopt_optimizer.proofs.referrer import BUNDLE, QUALITY_PREDICATE, TEST_RESULT_PREDICATE
from mopt_optimizer.proofs.signing import SigningKey
from mopt_optimizer.publishing.archive import Given, digest_of


@dataclass(frozen=True)
class Published:
    """An image in a layout that may be changed.

    Attributes:
        subject: The image's digest.
        chance: Decides on the mutation.
    """

    folder: Folder
    subject: str
    keys: Keys
    chance: random.Random

    def blobs(self) -> list[Path]:
        """Return everything that was published."""
        return sorted((self.folder.path / "blobs" / "sha256").iterdir())

    def referrers(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Return the manifests that refer to the image."""
        for path in self.blobs():
            if path.read_bytes()[:1] == b"{":
                manifest = json.loads(path.read_bytes())
                if manifest.get("subject", {}).get("digest") == self.subject:
                    yield path, manifest

    def content(self, manifest: dict[str, Any]) -> bytes:
        return self.folder.file(manifest["layers"][0]["digest"]).read_bytes()

    def bundle(self, predicate: str) -> tuple[Path, dict[str, Any]]:
        """Return the referrer with a bundle of a predicate type."""
        for path, manifest in self.referrers():
            annotations = manifest["annotations"]
            if annotations.get("dev.sigstore.bundle.predicateType") == predicate:
                return path, manifest
        raise AssertionError(predicate)

    def replace(self, path: Path, manifest: dict[str, Any], content: bytes) -> None:
        """Write other content of a referrer, and name it by its digest."""
        path.unlink()
        self.folder.blob(content)
        manifest["layers"][0] |= {"digest": digest_of(Given(content)), "size": len(content)}
        self.folder.blob(json_bytes(manifest))


def published(original: tuple[Path, str], folder: Path, keys: Keys, seed: str) -> Published:
    """Return a copy of a layout that may be changed.

    Args:
        original: Its folder, and the digest of the image in it.
        folder: Of the copy.
    """
    source, subject = original
    shutil.copytree(source, folder / "layout")
    copied = Folder.__new__(Folder)
    copied.path = folder / "layout"
    return Published(copied, subject, keys, random.Random(seed))


def flip(content: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(content))
    return (
        content[:place]
        + bytes([content[place] ^ (1 << chance.randrange(8))])
        + content[place + 1 :]
    )


def flip_a_stored_byte(image: Published) -> None:
    path = image.chance.choice(image.blobs())
    path.write_bytes(flip(path.read_bytes(), image.chance))


def flip_a_byte_and_name_it_anew(image: Published) -> None:
    path, manifest = image.chance.choice(list(image.referrers()))
    image.replace(path, manifest, flip(image.content(manifest), image.chance))


def edit_a_gate_value(image: Published) -> None:
    """Change a value, a limit, a figure or a verdict in a signed statement."""

    def edit(predicate: dict[str, Any]) -> None:
        quality = predicate["quality"]
        row = image.chance.choice([*quality["gates"], *quality["figures"]])
        numbers = [key for key, value in row.items() if isinstance(value, float)]
        key = image.chance.choice(numbers)
        row[key] += image.chance.choice((-1, 1)) * 10 ** image.chance.uniform(-6, 2)

    edit_statement(image, QUALITY_PREDICATE, edit)


def edit_a_verdict(image: Published) -> None:
    def edit(predicate: dict[str, Any]) -> None:
        place = image.chance.randrange(len(predicate["passedTests"]))
        test = predicate["passedTests"][place]
        predicate["passedTests"][place] = test.replace("= ", "= 1")

    edit_statement(image, TEST_RESULT_PREDICATE, edit)


def sign_an_edited_value_with_another_key(image: Published) -> None:
    """The statement is genuine DSSE, of a key that is not the publisher's."""
    other = make_keys(image.folder.path.parent / "other")
    statement = quality_statement(facts(image.subject), {})
    gate = image.chance.choice(statement["predicate"]["quality"]["gates"])
    gate["value"] += image.chance.random()
    path, manifest = image.bundle(QUALITY_PREDICATE)
    content = SigningKey.load(other.private).signed(json_bytes(statement))
    image.replace(path, manifest, content)


def swap_a_digest(image: Published) -> None:
    """Another digest of data, model, form, result or attachment in a signed statement."""

    def edit(predicate: dict[str, Any]) -> None:
        holders = [
            *predicate["data"].values(),
            predicate["source"],
            predicate["form"],
            predicate["result"],
        ]
        holder = image.chance.choice(holders)
        holder["digest"] = f"sha256:{image.chance.randbytes(32).hex()}"

    edit_statement(image, QUALITY_PREDICATE, edit)


def swap_two_digests(image: Published) -> None:
    """Calibration data are said to be the evaluation data."""

    def edit(predicate: dict[str, Any]) -> None:
        data = predicate["data"]
        data["evaluation"], data["calibration"] = data["calibration"], data["evaluation"]

    edit_statement(image, QUALITY_PREDICATE, edit)


def swap_the_subject(image: Published) -> None:
    """A statement that this key signed for another image."""
    path, manifest = image.bundle(QUALITY_PREDICATE)
    attached = quality_statement(facts(image.subject), {})["predicate"]["attached"]
    other = facts(f"sha256:{image.chance.randbytes(32).hex()}")
    statement = quality_statement(other, attached)
    content = SigningKey.load(image.keys.private).signed(json_bytes(statement))
    image.replace(path, manifest, content)


def swap_the_attachment(image: Published) -> None:
    """Another bill of materials or report in the place of the one that is signed for."""
    unsigned = [each for each in image.referrers() if each[1]["artifactType"] != BUNDLE]
    path, manifest = image.chance.choice(unsigned)
    other = image.content(manifest).replace(b"small", b"other", 1)
    image.replace(path, manifest, other + b" " * image.chance.randrange(3))


def edit_statement(
    image: Published, predicate: str, edit: Callable[[dict[str, Any]], None]
) -> None:
    path, manifest = image.bundle(predicate)
    bundle = json.loads(image.content(manifest))
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    before = json_bytes(statement)
    edit(statement["predicate"])
    assert json_bytes(statement) != before
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(json_bytes(statement)).decode()
    image.replace(path, manifest, json.dumps(bundle, separators=(",", ":")).encode())
