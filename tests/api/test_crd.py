"""The generated CRD: up to date, structural, bounded, every field explained."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mopt_api.crd import custom_resource_definition, profile_definition
from mopt_api.spec import MOST_INPUTS, ModelOptimizationSpec

ROOT = Path(__file__).resolve().parents[2]


def _schema(definition: dict[str, Any] | None = None) -> dict[str, Any]:
    (version,) = (definition or custom_resource_definition())["spec"]["versions"]
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return schema


def _walk(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, value in schema.get("properties", {}).items():
        yield from _walk(value, f"{path}.{name}")
    if "items" in schema:
        yield from _walk(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from _walk(schema["additionalProperties"], f"{path}{{}}")


_PROFILE = _schema(profile_definition())["properties"]
# Profiles hold more than a spec of few targets may.
PROFILE_SPEC = dict(_walk(_PROFILE["spec"], "profile.spec"))
SPEC = dict(_walk(_schema()["properties"]["spec"], "spec")) | PROFILE_SPEC
STATUS = dict(_walk(_schema()["properties"]["status"], "status"))
STATUS |= dict(_walk(_PROFILE["status"], "profile.status"))


@pytest.mark.parametrize("directory", ["crds", "helm/mopt/files"])
@pytest.mark.parametrize("definition", [custom_resource_definition(), profile_definition()])
def test_committed_crd_is_the_generated_one(directory: str, definition: dict[str, Any]) -> None:
    text = (ROOT / directory / f"mopt.dev_{definition['spec']['names']['plural']}.yaml").read_text()
    assert yaml.safe_load(text) == definition


@pytest.mark.parametrize("path", [p for p, s in SPEC.items() if s.get("type") == "string"])
def test_spec_strings_are_bounded(path: str) -> None:
    assert "maxLength" in SPEC[path] or "enum" in SPEC[path]


@pytest.mark.parametrize("path", [p for p, s in SPEC.items() if s.get("type") == "array"])
def test_spec_lists_are_bounded(path: str) -> None:
    most = MOST_INPUTS if path == "spec.inputs" else 64 if path in PROFILE_SPEC else 12
    assert SPEC[path]["maxItems"] <= most
    assert SPEC[path]["x-kubernetes-list-type"] in ("atomic", "map")


@pytest.mark.parametrize("path", [p for p, s in SPEC.items() if "additionalProperties" in s])
def test_spec_maps_are_bounded(path: str) -> None:
    assert SPEC[path]["maxProperties"] <= (64 if path in PROFILE_SPEC else 16)


@pytest.mark.parametrize("path", [p for p in (*SPEC, *STATUS) if not p.endswith(("[]", "{}"))])
def test_every_field_is_explained(path: str) -> None:
    assert (SPEC | STATUS)[path].get("description")


@pytest.mark.parametrize("path", [*SPEC, *STATUS])
def test_schema_is_structural(path: str) -> None:
    schema = (SPEC | STATUS)[path]
    refused = {"$ref", "title", "const", "oneOf", "nullable", "patternProperties", "propertyNames"}
    assert not refused & set(schema)
    assert "type" in schema or schema.get("x-kubernetes-int-or-string")


def test_defaults_are_those_of_the_models() -> None:
    minimal = {
        "model": {"uri": "s3://models/m.onnx", "sha256": "f" * 64, "format": "ONNX"},
        "inputs": [{"name": "x", "shape": [1, 3]}],
    }

    def defaulted(value: Any, schema: dict[str, Any]) -> Any:
        if isinstance(value, dict) and "properties" in schema:
            filled = dict(value)
            for name, child in schema["properties"].items():
                if name not in filled and "default" in child:
                    filled[name] = child["default"]
                if name in filled:
                    filled[name] = defaulted(filled[name], child)
            return filled
        if isinstance(value, list) and "items" in schema:
            return [defaulted(item, schema["items"]) for item in value]
        return value

    stored = defaulted(minimal, _schema()["properties"]["spec"])
    assert stored == ModelOptimizationSpec.model_validate(minimal).to_api()


def test_status_defaults_to_not_observed() -> None:
    assert _schema()["properties"]["status"]["default"] == {"observedGeneration": -1}
