"""A measure Job in which one variant's process lies: that variant fails, the others do not."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mopt_api.figures import VariantReason, VariantState
from mopt_api.jobs.measure_result import MeasureResult, VariantResult
from mopt_api.jobs.termination import MeasureSummary

from .ground import DISK_BYTES, Ground
from .known import through
from .stages import FIRST, VARIANT, Ended, Work

pytestmark = pytest.mark.hostile

FAILED = (VariantReason.CRASHED, VariantReason.BUILD_FAILED, VariantReason.TIMED_OUT)


@dataclass(frozen=True)
class Lie:
    """What the process answers to a request, and makes in its folder.

    Attributes:
        op: The request.
        why: Why it is not held yet.
    """

    name: str
    op: str
    answer: dict[str, Any]
    make: list[list[Any]] = field(default_factory=list)
    why: str = ""


def sparse_array(name: str, size: int) -> list[Any]:
    """Return what makes an array of bytes without data."""
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({size},), }}"
    header += " " * (63 - (10 + len(header)) % 64) + "\n"
    start = "\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little").decode("latin-1") + header
    return ["sparse", name, len(start) + size, start]


_E = [["file", "e.engine", "x"], ["file", "e.engine.json", "{}"]]
LIES = [
    Lie("outputs-absolute", "evaluate", {"outputs": ["{outside}/other.npy"]}),
    Lie("outputs-above", "evaluate", {"outputs": ["../../x.npy"]}),
    Lie("outputs-of-two-slashes", "evaluate", {"outputs": ["/{outside}/other.npy"]}),
    Lie("outputs-nul", "evaluate", {"outputs": ["o\0.npy"]}),
    Lie("outputs-none", "evaluate", {"outputs": []}),
    Lie("outputs-many", "evaluate", {"outputs": ["o.npy"] * 100_000}, [["file", "o.npy", "x"]]),
    Lie("outputs-no-array", "evaluate", {"outputs": ["o.npy"]}, [["file", "o.npy", "x"]]),
    Lie("outputs-a-folder", "evaluate", {"outputs": ["o.npy"]}, [["folder", "o.npy"]]),
    Lie("outputs-no-list", "evaluate", {"outputs": "o.npy"}),
    Lie("outputs-larger-than-the-disk", "evaluate", {"outputs": ["o.npy"]},
        [sparse_array("o.npy", 8 * DISK_BYTES)]),
    Lie("engine-absolute", "open", {"engine": "/etc/passwd"}),
    Lie("engine-not-asked-for", "open", {"engine": "e.engine"}, _E),
    Lie("engine-larger-than-the-disk", "open", {"engine": "e.engine"},
        [["sparse", "e.engine", 8 * DISK_BYTES], ["file", "e.engine.json", "{}"]]),
    Lie("folders-deeper-than-any-path", "evaluate", {"outputs": []}, [["nest", 1200]]),
    Lie("times-none", "turn", {"timesNs": []}),
    Lie("times-zero", "turn", {"timesNs": [0] * 1000}),
    Lie("times-below-zero", "turn", {"timesNs": [-5] * 1000}),
    Lie("times-shorter-than-the-turn", "turn", {"timesNs": [1] * 1000}),
    Lie("times-of-400-digits", "turn", {"timesNs": [10**400] * 10}),
    Lie("times-a-million", "turn", {"timesNs": [1] * 1_000_000}),
    Lie("times-no-numbers", "turn", {"timesNs": ["fast"]}),
    Lie("memory-below-zero", "usage", {"peakBytes": -(10**30)}),
    Lie("memory-of-400-digits", "usage", {"peakBytes": 10**400}),
    Lie("compiling-no-number", "usage", {"compileSeconds": math.nan}),
    Lie("compiling-infinite", "usage", {"compileSeconds": math.inf}),
]  # fmt: skip


@pytest.fixture(scope="module")
def prepared(grounds: Callable[[str], Ground]) -> tuple[Work, str]:
    """A store with what an honest prepare Job made, and its manifest's digest."""
    work = Work(grounds("prepared"))
    return work, work.prepared()


@pytest.fixture
def work(ground: Ground, prepared: tuple[Work, str]) -> Work:
    found = Work(ground)
    found.take_store(prepared[0])
    np.save(ground.outside / "other.npy", np.zeros((2, 10), np.float32))
    ground.remember()
    return found


def attacked(work: Work, prepared: str, behaviour: str, options: dict[str, Any]) -> Ended:
    """Return how a Job ended whose first variant behaves so."""
    plan = work.ground.plan(VARIANT, behaviour=behaviour, options=options, folder_prefix=FIRST)
    return work.measure(plan, prepared)


def first_of(work: Work, ended: Ended) -> VariantResult:
    """Return the attacked variant's result."""
    assert isinstance(ended.summary, MeasureSummary), ended.summary
    data = work.blobs.read(ended.summary.result)
    json.loads(data, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    result = MeasureResult.model_validate_json(data)
    assert result.baseline is not None
    assert result.baseline.state is VariantState.PASSED
    return {variant.name: variant for variant in result.variants}["first"]


@pytest.mark.parametrize(
    "lie",
    [pytest.param(lie, id=lie.name, marks=[through(lie.why)] if lie.why else []) for lie in LIES],
)
def test_a_lie_fails_that_variant_alone(work: Work, prepared: tuple[Work, str], lie: Lie) -> None:
    told = json.dumps(lie.answer).replace("{outside}", str(work.ground.outside))
    options = {"ops": [lie.op], "make": lie.make, "answer": json.loads(told)}
    ended = attacked(work, prepared[1], "answer", options)
    work.check_ended(ended)
    first = first_of(work, ended)
    assert first.state is VariantState.FAILED
    assert first.reason in FAILED
    assert first.message


@dataclass(frozen=True)
class End:
    """A behaviour, and what becomes of the variant."""

    name: str
    behaviour: str
    reason: VariantReason
    options: dict[str, Any] = field(default_factory=dict)
    why: str = ""


ENDS = [
    End("ends", "gone", VariantReason.CRASHED),
    End("killed", "killed", VariantReason.OUT_OF_MEMORY),
    End("closes-everything", "closed", VariantReason.CRASHED),
    End("nonsense", "raw", VariantReason.CRASHED, {"text": "x\n"}),
    End("fills-the-disk", "disk", VariantReason.CRASHED,
        {"how": "plain", "bytes": 3 * DISK_BYTES}),
    End("error-of-the-stores", "error", VariantReason.BUILD_FAILED,
        {"kind": "StoreUnreachable", "reason": "StoreUnreachable", "message": "try again"}),
    End("error-with-controls", "error", VariantReason.BUILD_FAILED,
        {"kind": "ModelError", "reason": "InvalidModel", "message": "\x1b[31mred"}),
]  # fmt: skip


@pytest.mark.parametrize(
    "end",
    [pytest.param(e, id=e.name, marks=[through(e.why)] if e.why else []) for e in ENDS],
)
def test_an_end_has_a_name(work: Work, prepared: tuple[Work, str], end: End) -> None:
    ended = attacked(work, prepared[1], end.behaviour, end.options)
    work.check_ended(ended)
    first = first_of(work, ended)
    assert (first.state, first.reason) == (VariantState.FAILED, end.reason)
    assert first.message is not None
    assert first.message.isprintable()


def test_an_honest_variant_passes(work: Work, prepared: tuple[Work, str]) -> None:
    ended = work.measure(None, prepared[1])
    work.check_ended(ended)
    assert first_of(work, ended).state is VariantState.PASSED


def test_a_variant_that_reads_nothing_is_ended(
    work: Work, prepared: tuple[Work, str], tmp_path: Path
) -> None:
    ended = attacked(work, prepared[1], "deaf", {"answers": 20_000})
    work.check_ended(ended)
    assert first_of(work, ended).state is VariantState.FAILED
