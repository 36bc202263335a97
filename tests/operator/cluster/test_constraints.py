"""Every constraint of the schema, found by walking it: each is broken once on a real API server."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from full_spec import FULL, Json, Path, fields, nodes, schema_of_spec
from light_cluster import Api, MakeNamespace
from operator_world import MakeManifest
from pydantic import ValidationError

from mopt_api.spec import ModelOptimizationSpec

pytestmark = pytest.mark.cluster


def test_no_field_is_left_out() -> None:
    walked = {
        tuple(part for part in path if isinstance(part, str))
        for path, _, _ in nodes(schema_of_spec(), FULL)
    }
    assert set(fields(schema_of_spec())) - walked == set()


def _wrong_values(schema: Json, value: Any) -> Iterator[tuple[str, Any]]:
    """Return for each constraint of a field a value that breaks it."""
    if schema.get("x-kubernetes-int-or-string"):
        yield "type", []
        if "pattern" in schema:
            yield "pattern", "!"
        if "minimum" in schema:
            yield "minimum", schema["minimum"] - 1
        return
    yield "type", [] if schema["type"] != "array" else {}
    if "enum" in schema:
        yield "enum", "Nothing"
    if "minimum" in schema:
        step = 0 if schema.get("exclusiveMinimum") else 1
        yield "minimum", schema["minimum"] - step
    if "maximum" in schema:
        yield "maximum", schema["maximum"] + 1
    if "pattern" in schema:
        yield "pattern", "!" * max(schema.get("minLength", 1), 1)
    if "maxLength" in schema:
        yield "maxLength", "a" * (schema["maxLength"] + 1)
    if schema.get("minLength"):
        yield "minLength", ""
    if schema.get("minItems"):
        yield "minItems", []
    if "maxItems" in schema:
        yield "maxItems", value[:1] * (schema["maxItems"] + 1)
    if "maxProperties" in schema:
        (some,) = list(value.values())[:1]
        yield "maxProperties", {f"k{n}": some for n in range(schema["maxProperties"] + 1)}
    for name in schema.get("required", ()):
        yield f"required {name}", {k: v for k, v in value.items() if k != name}


def _replaced(path: Path, value: Any) -> Json:
    spec: Any = copy.deepcopy(FULL)
    if not path:
        assert isinstance(value, dict)
        return value
    place = spec
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    result: Json = spec
    return result


CASES = [
    (".".join(map(str, ("spec", *path))), constraint, path, wrong)
    for path, schema, value in nodes(schema_of_spec(), FULL)
    for constraint, wrong in _wrong_values(schema, value)
    # The whole spec of another type is no resource at all.
    if path or constraint != "type"
]
IDS = [f"{name}-{constraint}" for name, constraint, _, _ in CASES]


@pytest.fixture
def attempt(api: Api, resource_manifest: MakeManifest) -> Callable[[Json], None]:
    """Return a function that has the API server judge a spec, without keeping it."""

    def run(spec: Json) -> None:
        manifest = resource_manifest()
        manifest["metadata"]["namespace"] = "default"
        manifest["spec"] = spec
        api.call("POST", api.path(manifest, collection=True) + "?dryRun=All", manifest)

    return run


def test_resource_with_every_field_is_accepted(attempt: Callable[[Json], None]) -> None:
    attempt(FULL)
    ModelOptimizationSpec.model_validate(FULL)


def test_no_field_is_immutable(
    api: Api, make_namespace: MakeNamespace, resource_manifest: MakeManifest
) -> None:
    """Each change brings the Jobs that it needs, so that no transition is refused."""
    other = resource_manifest(output={"uri": "s3://elsewhere/sr"})
    other["metadata"]["namespace"] = make_namespace()
    path = api.path(other)
    made = api.create(other | {"spec": FULL})
    for name in FULL:
        assert FULL[name] != other["spec"].get(name), name
    changed = api.call("PUT", path, made | {"spec": other["spec"]})
    back = api.call("PUT", path, changed | {"spec": FULL})
    assert back["metadata"]["generation"] == 3


@pytest.mark.parametrize(("name", "constraint", "path", "wrong"), CASES, ids=IDS)
def test_broken_constraint_is_refused_and_names_its_field(
    attempt: Callable[[Json], None], name: str, constraint: str, path: Path, wrong: Any
) -> None:
    with pytest.raises(Exception, match=r"422|400") as refusal:
        attempt(_replaced(path, wrong))
    field = next((part for part in reversed(path) if isinstance(part, str)), "spec")
    missing = constraint.removeprefix("required ")
    assert field in str(refusal.value) or missing in str(refusal.value)


@pytest.mark.parametrize(("name", "constraint", "path", "wrong"), CASES, ids=IDS)
def test_operator_refuses_it_too(name: str, constraint: str, path: Path, wrong: Any) -> None:
    with pytest.raises(ValidationError):
        ModelOptimizationSpec.model_validate(_replaced(path, wrong))
