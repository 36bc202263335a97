"""Whether something was signed before, whatever its signature."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from mopt_optimizer.stages.publish.attach import SIGNS, signed_before, what_it_signs


def bundle(payload: dict[str, Any], signature: str = "c2ln", key: str = "one") -> bytes:
    envelope = {
        "payload": base64.b64encode(json.dumps(payload).encode()).decode(),
        "signatures": [{"sig": signature}],
    }
    material = {"publicKey": {"hint": key}}
    return json.dumps({"dsseEnvelope": envelope, "verificationMaterial": material}).encode()


STATEMENT = {"subject": [{"name": "a"}], "ignored": [".git", ".github"]}


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (bundle(STATEMENT, signature="b3RoZXI="), True),
        (bundle(STATEMENT | {"ignored": [".github", ".git"]}), True),
        (bundle(STATEMENT, key="two"), False),
        (bundle(STATEMENT | {"subject": [{"name": "b"}]}), False),
    ],
    ids=["another signature", "a set in another order", "another key", "another statement"],
)
def test_what_is_signed_is_known_again(other: bytes, same: bool) -> None:
    assert (what_it_signs(bundle(STATEMENT)) == what_it_signs(other)) is same


@pytest.mark.parametrize(
    "content",
    [b"<html>", b"[]", b"{}", b'{"dsseEnvelope": {"payload": "no base64"}}'],
    ids=["a page", "a list", "a statement", "a damaged one"],
)
def test_what_is_no_bundle_signs_nothing(content: bytes) -> None:
    assert what_it_signs(content) is None


def test_what_an_index_has_signatures_of() -> None:
    entries = [{"annotations": {SIGNS: "sha256:1"}}, {"annotations": {}}, {}]
    assert signed_before(json.dumps({"manifests": entries}).encode()) == {"sha256:1"}
    assert signed_before(None) == signed_before(b"[]") == signed_before(b"no JSON") == frozenset()
