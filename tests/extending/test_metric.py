"""A quality metric that no product file knows: registered here, it is computed, gated and shown."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import report_results
from html_page import HtmlPage
from rich.console import Console

from mopt_api import metrics
from mopt_api.benchmark import Benchmark, BenchmarkPoint
from mopt_api.enums import Aggregate, QualityMetric
from mopt_api.figures import QualityResult, VariantState
from mopt_api.jobs.measure_result import MeasureResult
from mopt_api.jobs.selection import select
from mopt_api.jobs.termination import MeasureSummary, decode, encode, summarize_measure
from mopt_api.metrics import MetricInfo, Scale, metric_in_words
from mopt_api.noise import minimum_with_margin, noise_of
from mopt_api.objective import Objective
from mopt_api.spec import QualityGate
from mopt_api.status import Report
from mopt_cli.table import render_target, target_status
from mopt_optimizer.quality import Comparison, data_ranges, evaluate
from mopt_optimizer.quality import metrics as computing
from mopt_optimizer.stages.report.page import render_page

MEAN_ABS_ERROR = """
import numpy as np

def compute(reference, output, data_range, options):
    return float(np.abs(reference - output).mean())
"""
SIGN_AGREEMENT = """
import numpy as np

def compute(reference, output, data_range, options):
    return float((np.sign(reference) == np.sign(output)).mean())
"""
VALUES = np.linspace(-1, 1, 100, dtype=np.float32).reshape(1, 100)


@dataclass(frozen=True)
class Toys:
    """One metric where smaller is better, one between bounds."""

    error: QualityMetric
    share: QualityMetric


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toys:
    found = Toys(QualityMetric.add("ToyMeanAbsError"), QualityMetric.add("ToySignAgreement"))
    rows = {
        found.error: (MEAN_ABS_ERROR, MetricInfo(Scale.ERROR, ", an error", "Error", ".3f")),
        found.share: (
            SIGN_AGREEMENT,
            MetricInfo(Scale.UP_TO_ONE, ", a share", "Share", ".4f", unit="%", bounds=(0.25, 1.0)),
        ),
    }
    monkeypatch.syspath_prepend(tmp_path)
    for metric, (source, row) in rows.items():
        (tmp_path / f"{metric.lower()}.py").write_text(source)
        monkeypatch.setitem(metrics.METRICS, metric, row)
        monkeypatch.setitem(computing.METRICS, metric, f"{metric.lower()}:compute")
    return found


def compared(toys: Toys, error: float) -> list[QualityResult]:
    """Return the quality of an output that is off by an error everywhere."""
    comparison = Comparison({toys.error: 1.0, toys.share: 1.0})
    comparison.add([VALUES], [VALUES + np.float32(error)])
    return comparison.results()


def measured(toys: Toys, gates: list[QualityGate]) -> MeasureResult:
    """Return a judged result whose variants were compared by the toys, each 0.02 worse."""
    result = report_results.result()
    assert result.baseline is not None
    told = report_results.plan(gates)
    objective = told.objective.model_copy(update={"constraints": []})
    verdict = select(
        result.baseline.model_copy(update={"quality": compared(toys, 0.0)}),
        [
            v.model_copy(
                update={
                    "state": VariantState.PASSED,
                    "reason": None,
                    "quality": compared(toys, 0.02 * n),
                }
            )
            if v.points
            else v
            for n, v in enumerate(result.variants)
        ],
        gates=gates,
        objective=objective,
        benchmark=told.benchmark,
    )
    return result.model_copy(
        update={
            "baseline": verdict.baseline,
            "variants": verdict.variants,
            "selected": verdict.selected,
            "evaluation_names": ["only.npy"],
        }
    )


def test_it_is_computed(toys: Toys) -> None:
    found = evaluate(
        lambda sample: [sample["x"]],
        lambda sample: [sample["x"] + np.float32(0.1)],
        [{"x": VALUES}, {"x": 2 * VALUES}],
        metrics=[str(toys.error), str(toys.share)],
    )
    assert found.value(str(toys.error)) == pytest.approx(0.1, abs=1e-6)
    # 5 of the 100 values lie less than 0.1 below 0, 2 of the second sample's.
    assert found.value(str(toys.share), aggregate="Worst") == pytest.approx(0.95)


def test_the_worst_of_its_values_is_on_its_worse_side(toys: Toys) -> None:
    comparison = Comparison({toys.error: 1.0})
    for error in (0.1, 0.3, 0.2):
        comparison.add([VALUES], [VALUES + np.float32(error)])
    (found,) = comparison.results()
    assert (found.worst, found.mean) == pytest.approx((0.3, 0.2), abs=1e-6)


def test_gates_are_held_to_its_row(toys: Toys) -> None:
    gate = QualityGate(metric=toys.error, maximum=0.05)
    assert data_ranges([gate]) == {toys.error: 1.0}
    with pytest.raises(ValueError, match="ToyMeanAbsError takes maximum"):
        QualityGate(metric=toys.error, minimum=0.05)
    with pytest.raises(ValueError, match="ToySignAgreement takes minimum"):
        QualityGate(metric=toys.share, maximum=1)
    with pytest.raises(ValueError, match=r"minimum of ToySignAgreement is a share from 0.25 to 1"):
        QualityGate(metric=toys.share, minimum=0.2)
    assert QualityGate.model_validate({"metric": "ToySignAgreement", "minimum": 0.25}).minimum


def test_a_search_for_layers_knows_its_noise(toys: Toys) -> None:
    assert noise_of(-0.1, toys.error) == pytest.approx(0.01)
    assert noise_of(0.9, toys.share) == pytest.approx(0.1)
    gate = QualityGate(metric=toys.share, minimum=0.9)
    assert minimum_with_margin(gate, 10.0) == pytest.approx(0.99)


def test_it_decides_and_is_shown_everywhere(toys: Toys) -> None:
    gates = [
        QualityGate(metric=toys.error, maximum=0.05),
        QualityGate(metric=toys.share, minimum=0.5, aggregate=Aggregate.MEAN),
    ]
    result = measured(toys, gates)
    states = [str(v.state) for v in result.variants if v.points]
    assert states == ["Passed", "Passed", "Passed", "Rejected", "Rejected"]
    (message,) = {v.message for v in result.variants if v.message and "0.060" in v.message}
    assert message == "worst ToyMeanAbsError 0.060 is above 0.05"

    page = HtmlPage(render_page(result, report_results.plan(gates), digest=report_results.DIGEST))
    assert page.faults == []
    for words in ("worst ToyMeanAbsError ≤ 0.05", "mean ToySignAgreement ≥ 0.5", message):
        assert words in page.text
    assert "ToySignAgreement 98.00% / 98.00%" in page.text

    printed = io.StringIO()
    target = target_status(result, Report(digest="sha256:0", uri="s3://b/k"))
    Console(file=printed, width=400).print(render_target(target))
    assert "ToyMeanAbsError 0.060, ToySignAgreement 97.00%" in printed.getvalue()

    summary = summarize_measure(result, report_results.DIGEST)
    decoded = decode(encode(summary))
    assert isinstance(decoded, MeasureSummary)
    assert [q.metric for q in decoded.variants[0].quality] == [toys.error, toys.share]
    assert metric_in_words(toys.share, 0.5) == "50.00%"


def test_the_objective_decides_among_those_that_pass_it(toys: Toys) -> None:
    result = measured(toys, [QualityGate(metric=toys.error, maximum=0.01)])
    assert result.selected == result.variants[0].name
    other = measured(toys, [QualityGate(metric=toys.error, maximum=0)])
    # The first is off by nothing: it passes the strictest gate.
    assert other.selected == result.variants[0].name
    verdict = select(
        result.baseline,
        [v.model_copy(update={"state": VariantState.PASSED}) for v in result.variants[1:2]],
        gates=[QualityGate(metric=toys.share, minimum=1)],
        objective=Objective(),
        benchmark=Benchmark(points=[BenchmarkPoint(name=p) for p in report_results.POINTS]),
    )
    assert verdict.selected == "baseline"
