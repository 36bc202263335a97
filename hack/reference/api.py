"""docs/reference/api.md: every field of the CustomResourceDefinitions, a table for each object."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from reference.markdown import GENERATED, code, prose, table

Schema = dict[str, Any]

_INTRO = """
# API reference

`mopt.dev/v1alpha1`: kind [`ModelOptimization`](#spec), short name `mopt`, and the cluster-scoped
kind [`OptimizationProfile`](#optimizationprofile), short name `mprof`: every field, as the API
server has it. What the fields are for is told in [the API](../api.md) and under
[profiles](../operator.md#profiles); what a condition's reason means, in
[reasons](reasons.md). `kubectl explain modeloptimization.spec` says the same in a terminal, and
`mopt check FILE` applies the bounds and rules without a cluster.

A default is what the API server adds. A field that has none and is not required stays out where it
is left out.
"""
# Fields of one meaning, such as a Secret's name, are described where they first stand.
_DESCRIBED_ELSEWHERE = ("description", "default")


def api_reference(definitions: Sequence[Schema]) -> str:
    """Return the page for the CustomResourceDefinitions, that of ModelOptimizations first."""
    first, *others = definitions
    parts = [GENERATED.format(source="the CRDs in crds/"), _INTRO, _kind(first)]
    for definition in others:
        kind = definition["spec"]["names"]["kind"]
        parts.append(f"\n## {kind}\n\n{prose(_schema(definition)['description'])}\n")
        parts.append(_kind(definition, f"{kind.lower()}."))
    return "".join(parts)


def _schema(definition: Schema) -> Schema:
    (version,) = definition["spec"]["versions"]
    schema: Schema = version["schema"]["openAPIV3Schema"]
    return schema


def _kind(definition: Schema, prefix: str = "") -> str:
    """Return the sections of one kind; their headings begin with a prefix."""
    schema, parts = _schema(definition), []
    for part in ("spec", "status"):
        about = prose(schema["properties"][part].get("description", ""))
        parts.append(f"\n## {prefix}{part}\n\n{about}\n")
        shown: dict[str, str] = {}
        # As a list: a table links to objects that stand below it.
        for path, found in [*_objects(f"{prefix}{part}", schema["properties"][part], shown)]:
            parts.append(_section(path, found, shown, heading=path != f"{prefix}{part}"))
    rules = schema.get("x-kubernetes-validations", ())
    parts.append(f"\n## {prefix}metadata\n\n" + "".join(_rule(rule) for rule in rules))
    return "".join(parts)


def _objects(path: str, schema: Schema, shown: dict[str, str]) -> Iterator[tuple[str, Schema]]:
    """Yield each different object once, by the path at which it first stands, outermost first.

    shown has the path of each, by what it consists of.
    """
    key = _identity(schema)
    if key in shown:
        return
    shown[key] = path
    yield path, schema
    for name, field in schema["properties"].items():
        where, inner = _inside(f"{path}.{name}", field)
        if "properties" in inner:
            yield from _objects(where, inner, shown)


def _identity(schema: Schema) -> str:
    kept = {k: v for k, v in schema.items() if k not in _DESCRIBED_ELSEWHERE}
    return json.dumps(kept, sort_keys=True)


def _inside(path: str, schema: Schema) -> tuple[str, Schema]:
    """Return what lists and maps hold, and its path."""
    if "items" in schema:
        return _inside(f"{path}[]", schema["items"])
    if "additionalProperties" in schema:
        return _inside(f"{path}{{}}", schema["additionalProperties"])
    return path, schema


def _section(path: str, schema: Schema, shown: dict[str, str], *, heading: bool) -> str:
    required = set(schema.get("required", ()))
    rows = []
    for name, field in schema["properties"].items():
        _, inner = _inside(f"{path}.{name}", field)
        rows.append(
            (
                code(name),
                _type(field, shown.get(_identity(inner)) if "properties" in inner else None),
                "yes" if name in required else "",
                code(json.dumps(field["default"])) if "default" in field else "",
                _bounds(field),
                prose(field.get("description", "")),
            )
        )
    fields = table(("Field", "Type", "Required", "Default", "Bounds", "Description"), rows)
    rules = "".join(_rule(rule) for rule in schema.get("x-kubernetes-validations", ()))
    lines = f"\n### `{path}`\n" if heading else ""
    return f"{lines}\n{fields}" + (f"\nRules:\n\n{rules}" if rules else "")


def _rule(rule: Schema) -> str:
    return f"- {prose(rule['message'])}: `{rule['rule']}`\n"


def _type(schema: Schema, link: str | None) -> str:
    """Return a field's type; link is the path at which its object is described."""
    if "items" in schema:
        return f"list of {_type(schema['items'], link)}"
    if "additionalProperties" in schema:
        return f"map of {_type(schema['additionalProperties'], link)}"
    if link is not None:
        return f"[object](#{anchor(link)})"
    if schema.get("x-kubernetes-int-or-string"):
        return "integer or string"
    return str(schema["type"])


def anchor(path: str) -> str:
    """Return the anchor of an object's heading."""
    return "".join(mark for mark in path.lower() if mark.isalnum())


def _bounds(schema: Schema) -> str:
    """Return what values may be; of a list its own bounds, then those of what it holds."""
    found = []
    least = ">" if schema.get("exclusiveMinimum") else "≥"
    for word, name in (("minimum", least), ("maximum", "≤")):
        if word in schema:
            found.append(f"{name} {schema[word]}")
    for low, high, unit in (
        ("minLength", "maxLength", "characters"),
        ("minItems", "maxItems", "items"),
        ("minProperties", "maxProperties", "entries"),
    ):
        if low in schema or high in schema:
            found.append(f"{_span(schema.get(low, 0), schema.get(high))} {unit}")
    if "enum" in schema:
        found.append(", ".join(code(str(value)) for value in schema["enum"]))
    if "pattern" in schema:
        found.append(code(schema["pattern"]))
    if keys := schema.get("x-kubernetes-list-map-keys"):
        found.append("unique " + ", ".join(code(key) for key in keys))
    held = [
        _bounds(schema[inner]) for inner in ("items", "additionalProperties") if inner in schema
    ]
    return "; ".join([*found, *(f"each {bounds}" for bounds in held if bounds)])


def _span(least: int, most: int | None) -> str:
    if most is None:
        return f"{least} or more"
    return str(most) if least == most else f"{least} to {most}"
