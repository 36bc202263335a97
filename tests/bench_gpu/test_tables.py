"""gpu.md from a record: of a run, of one cut off, of a rehearsal."""

from __future__ import annotations

from typing import Any

from bench.gpu.rows import latency
from bench.gpu.tables import page, table

Record = dict[str, Any]


def figure(form: str, p50: float, **changes: Any) -> Record:
    return {
        "kind": "figure",
        "model": "transformer",
        "form": form,
        "state": "measured",
        "batch": 1,
        "latencyMs": latency([p50, p50, p50 * 2]),
        "deviceMs": latency([p50 / 2]),
        "samplesPerSecond": 1000 / p50,
        "speedup": {"FP32, eager": 2.0, "FP32 with TF32, eager": 1.5},
        "quality": [
            {
                "metric": "Cosine",
                "worst": 0.98,
                "mean": 0.99,
                "exact": False,
                "gate": 0.99,
                "passed": False,
            }
        ],
        "peakBytes": 64 * 2**20,
        "joulesPer1000": 12.5,
        "clocksBefore": {"throttling": ["power cap"]},
        "clocksAfter": {"throttling": []},
    } | changes


def record(machine: Record, *rows: Record, **changes: Any) -> Record:
    return {"machine": machine, "rows": list(rows), "parts": [], "seconds": 61.0} | changes


def test_a_form_is_a_line_with_its_figures(machine: Record) -> None:
    text = page(record(machine, figure("FP16, eager", 0.5)))
    (line,) = (line for line in text.splitlines() if line.startswith("| FP16, eager"))
    assert line == (
        "| FP16, eager | 0.5 | 0.99 | 0.25 | 2000 | 2.00x | 1.50x | Cosine 0.98, misses 0.99 "
        "| 64 | 12.5 | power cap |"
    )
    assert "# NVIDIA H200, compute capability 9.0" in text
    assert "onnxruntime-gpu | not installed: not measured" in text
    assert "tensorrt | not installed: not measured" in text


def test_what_is_not_told_is_a_dash_and_what_failed_has_its_reason(machine: Record) -> None:
    text = page(
        record(
            machine,
            figure(
                "A",
                1,
                peakBytes=None,
                joulesPer1000=None,
                deviceMs=None,
                clocksAfter=None,
                clocksBefore=None,
                quality=[],
            ),
            figure("B", 1, state="failed", reason="OutOfMemoryError: no | room"),
            {
                "kind": "figure",
                "model": "transformer",
                "form": "C",
                "state": "skipped",
                "reason": "the model has no Linear",
            },
        )
    )
    assert "| A | 1 | 1.98 | - | 1000 | 2.00x | 1.50x | - | - | - | not told |" in text
    assert "| B | OutOfMemoryError: no \\| room | - |" in text
    assert "- C: skipped, the model has no Linear" in text


def test_batches_and_models_have_tables_of_their_own(machine: Record) -> None:
    rows = [figure("A", 1), figure("A", 9, batch=128), figure("A", 2, model="super_resolution")]
    text = page(record(machine, *rows))
    assert text.count("\n## transformer") == 1
    assert text.count("\n## super_resolution") == 1
    assert text.count("Batch 1:") == 2
    assert text.count("Batch 128:") == 1


def test_what_was_not_reached_is_said(machine: Record) -> None:
    parts = [
        {
            "name": "figures-transformer",
            "state": "cut off",
            "seconds": 110.0,
            "why": "its time box",
        },
        {"name": "tests", "state": "not reached", "seconds": 0.0, "why": "3 s were left"},
    ]
    text = page(record(machine, parts=parts))
    assert "| figures-transformer | cut off | 110 | its time box |" in text
    assert "| tests | not reached | 0 | 3 s were left |" in text


def test_the_stage_shows_what_it_skipped(machine: Record) -> None:
    point = {"point": "single", "latencyMs": {"p50": 1.5}}
    result = {
        "selected": "baseline",
        "baseline": {"state": "Passed", "points": [point]},
        "variants": [
            {"name": "tensorrt-fp16", "state": "Skipped", "message": "TensorRT cannot run here"}
        ],
    }
    text = page(record(machine, {"kind": "stage", "model": "transformer", "result": result}))
    assert "| baseline | Passed | 1.5 | - | - |  |" in text
    assert "| tensorrt-fp16 | Skipped | - | - | - | TensorRT cannot run here |" in text


def test_tests_are_counted_and_failures_and_skips_named(machine: Record) -> None:
    rows = [
        {"kind": "test", "name": "a::one", "state": "passed", "reason": ""},
        {"kind": "test", "name": "a::two", "state": "failed", "reason": "assert 1 == 2\nmore"},
        {"kind": "test", "name": "a::three", "state": "skipped", "reason": "no TensorRT here"},
        {"kind": "test", "name": "a::four", "state": "skipped", "reason": "no TensorRT here"},
    ]
    text = page(record(machine, *rows))
    assert "1 passed, 1 failed, 2 skipped." in text
    assert "- a::two: assert 1 == 2" in text
    assert text.count("no TensorRT here") == 1


def test_a_rehearsal_says_that_nothing_was_measured(machine: Record) -> None:
    row = {"kind": "planned", "what": "encoder: 8 samples", "details": ["FP16, eager"]}
    text = page(record(machine | {"gpu": None}, row, rehearsal=True))
    assert "**Nothing here was measured.**" in text
    assert "- encoder: 8 samples\n  - FP16, eager" in text
    assert " ms" not in text


def test_before_the_machine_was_asked_there_is_a_page_too() -> None:
    assert "Not measured" in page({"machine": None, "rows": [], "parts": []})


def test_a_table_without_lines_is_nothing() -> None:
    assert table(["a", "b"], []) == ""
