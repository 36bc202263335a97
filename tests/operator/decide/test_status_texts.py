"""Words and numbers that people read."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

import pytest

from mopt_api.enums import Aggregate, QualityMetric
from mopt_api.figures import QualityResult
from mopt_api.spec import QualityGate
from mopt_api.status import Report, Summary
from mopt_operator.config.logs import JsonFormatter, TextFormatter, about
from mopt_operator.decide.events import step_event
from mopt_operator.decide.status import quality_text, size_text
from mopt_operator.objects import Resource

PSNR = QualityResult(metric=QualityMetric.PSNR, worst=41.26, mean=45.55)
SSIM = QualityResult(metric=QualityMetric.SSIM, worst=0.98765, mean=0.99)
EXACT = QualityResult(metric=QualityMetric.PSNR, worst=200, mean=200, exact=True)


def gate(metric: str, aggregate: Aggregate = Aggregate.WORST) -> QualityGate:
    bound = "maximum" if metric == "MaxAbsError" else "minimum"
    return QualityGate.model_validate({"metric": metric, bound: 0, "aggregate": aggregate})


def value(metric: str, worst: float) -> QualityResult:
    return QualityResult(metric=QualityMetric(metric), worst=worst, mean=worst)


def test_every_metric_has_words_that_fit_the_status() -> None:
    longest = Summary.model_fields["quality"].metadata[0].max_length
    for metric in QualityMetric:
        for extreme in (-200.0, 1.0, 123456.789, -1e-9):
            text = quality_text([value(metric, extreme)], [])
            assert text is not None
            assert text.startswith(metric)
            assert len(text) <= longest


@pytest.mark.parametrize(
    ("quality", "gates", "text"),
    [
        ([], [gate("PSNR")], None),
        ([PSNR, SSIM], [], "PSNR 41.26 dB"),
        ([PSNR, SSIM], [gate("SSIM")], "SSIM 0.98765"),
        ([PSNR], [gate("PSNR", Aggregate.MEAN)], "PSNR 45.55 dB"),
        ([EXACT], [gate("PSNR")], "PSNR identical"),
        ([value("SQNR", 38.25)], [gate("SQNR")], "SQNR 38.25 dB"),
        ([value("Cosine", 0.999876)], [gate("Cosine")], "Cosine 0.99988"),
        ([value("Cosine", 0.999998)], [gate("Cosine")], "Cosine 0.999998"),
        ([value("MaxAbsError", 0.00012345)], [gate("MaxAbsError")], "MaxAbsError 0.0001234"),
        ([value("Top1Agreement", 0.98765)], [gate("Top1Agreement")], "Top1Agreement 98.77%"),
    ],
)
def test_quality_is_the_first_gate_s(
    quality: list[QualityResult], gates: list[QualityGate], text: str | None
) -> None:
    assert quality_text(quality, gates) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1_234_567, "1.2 MB"),
        (123_456_789, "123 MB"),
        (999_600, "1.0 MB"),
        (5 * 10**15, "5000 TB"),
    ],
)
def test_size_in_decimal_units(size: int, text: str) -> None:
    assert size_text(size) == text


NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


def status(ready: str, reason: str, message: str = "words") -> dict[str, Any]:
    condition = {"type": "Ready", "status": ready, "reason": reason, "message": message}
    return {"conditions": [condition]}


def resource(before: dict[str, Any]) -> Resource:
    return Resource("team", "sr", "uid", 1, "1", {}, before)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({}, status("Unknown", "Preparing"), ("Normal", "Preparing")),
        (status("Unknown", "Measuring"), status("True", "Optimized"), ("Normal", "Optimized")),
        (status("Unknown", "Preparing"), status("False", "JobFailed"), ("Warning", "JobFailed")),
        (status("Unknown", "Preparing"), status("Unknown", "Preparing", "other words"), None),
    ],
)
def test_each_step_is_told_by_one_event(
    before: dict[str, Any], after: dict[str, Any], told: tuple[str, str] | None
) -> None:
    event = step_event(resource(before), after, NOW)
    assert (event and (event["type"], event["reason"])) == told


def test_same_step_has_the_same_event_name_and_another_another() -> None:
    def name(**change: Any) -> str:
        event = step_event(resource({}), status(**({"ready": "True", "reason": "A"} | change)), NOW)
        assert event is not None
        return str(event["metadata"]["name"])

    assert name() == name()
    assert name() != name(reason="B")
    assert name() != name(message="others")


def record(**extra: Any) -> logging.LogRecord:
    made = logging.LogRecord("mopt", logging.WARNING, "", 0, "said %s", ("so",), None)
    made.__dict__.update(extra)
    return made


def test_json_line_holds_the_resource() -> None:
    line = json.loads(JsonFormatter().format(record(**about("team", "sr", 3))))
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "warning",
        "logger": "mopt",
        "message": "said so",
        "namespace": "team",
        "name": "sr",
        "generation": 3,
    }


def test_text_line_ends_with_the_resource() -> None:
    assert TextFormatter().format(record(**about("team", "sr"))).endswith("said so (team/sr)")
    assert TextFormatter().format(record()).endswith("said so")


def test_the_page_follows_from_the_digest() -> None:
    report = Report.under("s3://optimized/model/", f"sha256:{'a' * 64}")
    assert report.uri == f"s3://optimized/model/blobs/sha256/{'a' * 64}"
    assert report.page == f"s3://optimized/model/reports/{'a' * 64}.html"
