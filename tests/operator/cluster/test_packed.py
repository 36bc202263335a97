"""A resource that rests in the store."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from settled_objects import templates

from mopt_operator.cluster.packed import pack
from mopt_operator.objects import Resource, observe_resource

TEXT = st.text(max_size=8)
# The API server's integers have 64 bits; a larger number is stored as a float.
INTEGERS = st.integers(-(2**63), 2**63 - 1)
JSON = st.recursive(
    st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)
OBJECT = st.dictionaries(TEXT, JSON, max_size=3)


def resource(**fields: Any) -> Resource:
    known: dict[str, Any] = {"namespace": "team", "name": "sr", "uid": "1", "version": "7"}
    return Resource(**(known | {"generation": 2, "spec": {}, "status": {}} | fields))


@given(spec=OBJECT, status=OBJECT, requested=st.none() | TEXT, deleting=st.booleans())
def test_all_of_it_comes_back(
    spec: dict[str, Any], status: dict[str, Any], requested: str | None, *, deleting: bool
) -> None:
    whole = resource(spec=spec, status=status, requested_at=requested, deleting=deleting)
    assert pack(whole).unpack() == whole


def test_real_status_takes_a_third_of_its_json() -> None:
    (template,) = templates()["modeloptimizations"]
    whole = observe_resource(json.loads(template.of(1, whole=True)))
    text = json.dumps([whole.spec, whole.status], separators=(",", ":"))
    packed = pack(whole)
    assert len(packed._packed) < len(text) / 3
    assert packed.settled
    assert packed.ready == ("True", "Optimized")


@pytest.mark.parametrize(
    ("ready", "change", "settled"),
    [
        ("True", {}, True),
        ("False", {}, True),
        ("Unknown", {}, False),
        ("True", {"generation": 3}, False),
        ("True", {"requested_at": "again"}, False),
    ],
)
def test_settled_is_what_has_its_answer(
    ready: str, change: dict[str, Any], *, settled: bool
) -> None:
    condition = {"type": "Ready", "status": ready, "reason": "Any", "message": ""}
    status = {"observedGeneration": 2, "conditions": [condition]}
    assert pack(resource(status=status, **change)).settled is settled


def test_new_one_is_not_settled() -> None:
    assert not pack(resource()).settled
