"""Which settings two measurements were made with differ, field by field. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

Plan = Mapping[str, object]

_TOLD = frozenset(
    # Of search, what Auto knew of the hardware: what it chose are the forms.
    {"stage", "target", "model", "prepared", "quality", "outputUri", "search"}
)
"""Fields of a plan that are no settings, or that a result says by itself."""
_TOLD_WITHIN = {"objective": {"metric", "point"}, "evaluation": {"uri"}, "references": {"uri"}}
_FORMS = "variants"


def changed_settings(
    before: Plan | None, after: Plan | None
) -> Iterator[tuple[str, str | None, str | None]]:
    """Yield each field of two plans that differs, with both texts; none where a plan is not known.

    A field is called as in spec, such as benchmark.minDurationSeconds, an item of a list by its
    name. A form that only one plan has is no changed setting.
    """
    if before is None or after is None:
        return
    both = _named(before.get(_FORMS)).keys() & _named(after.get(_FORMS)).keys()
    old, new = (dict(_leaves((), _settings(plan, both))) for plan in (before, after))
    for field in dict.fromkeys([*old, *new]):
        if old.get(field) != new.get(field):
            yield field, old.get(field), new.get(field)


def _settings(plan: Plan, forms: set[str]) -> dict[str, object]:
    """Return what is compared of a plan."""
    found = {name: _within(name, value) for name, value in plan.items() if name not in _TOLD}
    named = _named(plan.get(_FORMS))
    return found | {_FORMS: {name: form for name, form in named.items() if name in forms}}


def _within(name: str, value: object) -> object:
    told = _TOLD_WITHIN.get(name, set())
    if not isinstance(value, Mapping):
        return value
    return {key: item for key, item in value.items() if key not in told}


def _named(items: object) -> dict[str, object]:
    """Return the rest of each item by its name; nothing where they have no names."""
    if not isinstance(items, list):
        return {}
    if not all(isinstance(item, Mapping) and "name" in item for item in items):
        return {}
    return {
        str(item["name"]): {key: value for key, value in item.items() if key != "name"}
        for item in items
    }


def _leaves(path: tuple[str, ...], value: object) -> Iterator[tuple[str, str]]:
    inner = value if isinstance(value, Mapping) else _named(value)
    # An object without fields says nothing.
    for name, item in inner.items():
        yield from _leaves((*path, str(name)), item)
    if not inner and value is not None and not isinstance(value, Mapping):
        yield ".".join(path), value if isinstance(value, str) else json.dumps(value)
