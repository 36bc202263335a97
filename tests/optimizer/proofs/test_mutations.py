"""What was changed after it was published is refused: bytes, gate values, digests."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from proof_mutations import (
    Published,
    edit_a_gate_value,
    edit_a_verdict,
    flip_a_byte_and_name_it_anew,
    flip_a_stored_byte,
    published,
    sign_an_edited_value_with_another_key,
    swap_a_digest,
    swap_the_attachment,
    swap_the_subject,
    swap_two_digests,
)
from proved_image import Folder, Keys, publish

from mopt_optimizer.errors import ProofRefused
from mopt_optimizer.proofs.bundles import PublicKey
from mopt_optimizer.proofs.layout import Layout
from mopt_optimizer.proofs.referrer import QUALITY_PREDICATE
from mopt_optimizer.proofs.verify import verify
from mopt_optimizer.proofs.wanted import Wanted

EACH, EACH_IN_FULL = 10, 100
KINDS = {
    "bytes": (flip_a_stored_byte, flip_a_byte_and_name_it_anew),
    "gate values": (
        edit_a_gate_value,
        edit_a_gate_value,
        edit_a_verdict,
        sign_an_edited_value_with_another_key,
    ),
    "digests": (
        swap_a_digest,
        swap_a_digest,
        swap_two_digests,
        swap_the_subject,
        swap_the_attachment,
    ),
}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, keys: Keys) -> tuple[Path, str]:
    scratch = tmp_path_factory.mktemp("original")
    return scratch / "layout", publish(Folder(scratch / "layout"), scratch / "files", keys.private)


def refused(image: Published) -> list[str]:
    """Return the names of the checks that fail."""
    key = PublicKey.load(image.keys.public)
    try:
        verdicts = verify(Layout(image.folder.path), "latest", key, Wanted())
    except ProofRefused as error:
        return [str(error)]
    return [check.name for verdict in verdicts for check in verdict.checks if not check.holds]


def accepted(
    original: tuple[Path, str], folder: Path, keys: Keys, kind: str, seeds: range
) -> list[str]:
    """Return the mutations that are not refused, and fail where one is refused without a name."""
    found = []
    for seed in seeds:
        mutate = KINDS[kind][seed % len(KINDS[kind])]
        with_seed = f"{mutate.__name__}-{seed}"
        image = published(original, folder / with_seed, keys, with_seed)
        mutate(image)
        names = refused(image)
        assert all(names)
        if not names:
            found.append(with_seed)
        shutil.rmtree(folder / with_seed)
    return found


def test_what_is_unchanged_holds(original: tuple[Path, str], tmp_path: Path, keys: Keys) -> None:
    assert refused(published(original, tmp_path, keys, "none")) == []


@pytest.mark.parametrize("kind", KINDS)
def test_mutations_are_refused(
    original: tuple[Path, str], tmp_path: Path, keys: Keys, kind: str
) -> None:
    assert accepted(original, tmp_path, keys, kind, range(EACH)) == []


@pytest.mark.mutations
@pytest.mark.parametrize("kind", KINDS)
def test_a_hundred_mutations_are_refused(
    original: tuple[Path, str], tmp_path: Path, keys: Keys, kind: str
) -> None:
    assert accepted(original, tmp_path, keys, kind, range(EACH_IN_FULL)) == []


@pytest.mark.parametrize(
    ("mutate", "expected"),
    [
        pytest.param(edit_a_gate_value, "statement quality", id="a gate value"),
        pytest.param(edit_a_verdict, "statement test-result", id="a verdict"),
        pytest.param(swap_two_digests, "statement quality", id="data"),
        pytest.param(swap_the_subject, "statement quality", id="a statement on another image"),
    ],
)
def test_what_was_changed_is_named(
    original: tuple[Path, str],
    tmp_path: Path,
    keys: Keys,
    mutate: Callable[[Published], None],
    expected: str,
) -> None:
    image = published(original, tmp_path, keys, "named")
    mutate(image)
    assert expected in refused(image)


def test_every_byte_of_a_bundle_counts(
    original: tuple[Path, str], tmp_path: Path, keys: Keys
) -> None:
    """No bit of the smallest bundle can be changed without being refused, whatever names it."""
    source, subject = original
    image = Published(Folder.__new__(Folder), subject, keys, random.Random(0))
    image.folder.path = source
    _, manifest = image.bundle(QUALITY_PREDICATE)
    content = image.content(manifest)
    key = PublicKey.load(keys.public)
    assert key.opened(content)["predicateType"] == QUALITY_PREDICATE
    for place in range(0, len(content), 7):
        with pytest.raises(ProofRefused):
            key.opened(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
