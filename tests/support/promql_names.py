"""The metrics and labels that a PromQL expression names."""

from __future__ import annotations

import re

from prometheus_client.parser import text_string_to_metric_families

# What Prometheus adds to each sample that it scrapes; namespace is also a resource's.
OF_THE_TARGET = frozenset({"namespace", "job", "instance"})
_SELECTOR = re.compile(r"\b((?:mopt|process)_[a-z_]+)(?:\{((?:[^{}\"]|\"[^\"]*\")*)\})?")
_MATCHER = re.compile(r"([a-zA-Z_][a-zA-Z0-9_]*)\s*(?:=~|!~|!=|=)")
_GROUPING = re.compile(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)")


def exported(text: str) -> dict[str, set[str]]:
    """Return the series of a page of metrics, each with its labels."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def unknown_names(expression: str, known: dict[str, set[str]]) -> list[str]:
    """Return what an expression names that no page of metrics has.

    Args:
        known: Series and their labels.
    """
    text, missing, labels = re.sub(r"%selector%", "", expression), [], set(OF_THE_TARGET)
    for metric, matchers in _SELECTOR.findall(text):
        if metric not in known:
            missing.append(metric)
            continue
        labels |= known[metric]
        asked = set(_MATCHER.findall(re.sub(r'"[^"]*"', "", matchers)))
        missing += sorted(f"{metric}.{label}" for label in asked - known[metric] - OF_THE_TARGET)
    for grouping in _GROUPING.findall(text):
        asked = {label.strip() for label in grouping.split(",") if label.strip()}
        missing += sorted(asked - labels)
    return missing
