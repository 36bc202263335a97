"""What the kubelet makes of a container's variables, after kubernetes'
third_party/forked/golang/expansion/expand.go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

# Of the API server's Service, which the kubelet sets whatever enableServiceLinks says.
SERVICES = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}


def environment(variables: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the variables that have a value, as the process finds them."""
    known = dict(SERVICES)
    for variable in variables:
        if "value" in variable:
            known[variable["name"]] = expanded(variable["value"], known)
    return known


def expanded(text: str, known: Mapping[str, str]) -> str:
    """Return text with $(NAME) replaced by known variables; $$ is a plain $."""
    parts: list[str] = []
    at = 0
    while at < len(text):
        if text[at] != "$" or at + 1 == len(text):
            parts.append(text[at])
            at += 1
            continue
        end = text.find(")", at + 2)
        if text[at + 1] == "$":
            parts.append("$")
            at += 2
        elif text[at + 1] == "(" and end > 0:
            name = text[at + 2 : end]
            parts.append(known.get(name, f"$({name})"))
            at = end + 1
        else:
            parts.append(text[at : at + 2])
            at += 2
    return "".join(parts)
