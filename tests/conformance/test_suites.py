"""The ONNX standard's own models: whole and equal, or refused with a reason; never wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from .coverage import PAGE, SUITES_RECORD, page, read, tables
from .pool import Key, record_of, results
from .steps import STEPS, Outcome
from .suites import SUITES, load, names

_LIMIT = 900.0
_EVERY = 40


def _subset() -> list[str]:
    """Return the first case of each operator, by name, and every fortieth of all."""
    seen: set[str] = set()
    chosen = []
    for number, name in enumerate(names("node")):
        operators = set(load("node", name).operators)
        if not operators <= seen or number % _EVERY == 0:
            chosen.append(name)
        seen |= operators
    return chosen


def _bad(record: dict[str, Any]) -> list[str]:
    return [
        f"{record['name']}, {step}: {said}"
        for step, (outcome, said) in record["steps"].items()
        if outcome in (Outcome.WRONG, Outcome.FAULT)
    ]


@pytest.mark.optimizer
def test_each_operator_once(tmp_path: Path) -> None:
    """In this process: what ends it is found by the whole run."""
    bad, whole = [], 0
    for number, name in enumerate(_subset()):
        folder = tmp_path / str(number)
        folder.mkdir()
        record = record_of(("node", name), folder)
        bad += _bad(record)
        whole += record["steps"].get("onnxruntime", [""])[0] == Outcome.EQUAL
    assert not bad, "\n".join(bad)
    assert whole > 100


@pytest.mark.conformance
@pytest.mark.parametrize("suite", SUITES)
def test_every_case(suite: str) -> None:
    """Each in a process of its own kind: a crash or hang is that case's."""
    keys: list[Key] = [(suite, name) for name in names(suite)]
    found = [line for record in results(keys, jobs=2, limit=_LIMIT) for line in _bad(record)]
    assert not found, "\n".join(found)


@pytest.mark.optimizer
def test_record_holds_every_case() -> None:
    recorded = {(record["suite"], record["name"]) for record in read(SUITES_RECORD)}
    assert recorded == {(suite, name) for suite in SUITES for name in names(suite)}


def test_record_is_of_known_steps_and_nothing_in_it_is_wrong() -> None:
    for record in read(SUITES_RECORD):
        assert set(record["steps"]) <= {*STEPS, "process"}
        assert not _bad(dict(record))


@pytest.mark.optimizer
def test_page_is_of_the_records() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert page(text, tables()) == text, "run python -m tests.conformance.coverage"


def test_every_test_that_the_page_names_is_there() -> None:
    named = re.findall(r"`(tests/\S+\.py)::(\w+)`", PAGE.read_text(encoding="utf-8"))
    assert len(named) > 30
    for path, name in named:
        assert f"\ndef {name}(" in Path(path).read_text(encoding="utf-8"), f"{path}::{name}"
