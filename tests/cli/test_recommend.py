"""`mopt recommend`: from a resource's status and from result.json files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_process import Mopt

from mopt_api.constraints import Figures
from mopt_api.enums import ModelFormat, Precision, Runtime
from mopt_api.figures import Hardware, Latency, LoadFigures, Serving, SourceInfo, VariantState
from mopt_api.jobs.measure_result import MeasureResult, PointResult, VariantResult
from mopt_api.objective import Objective
from mopt_api.recommendation import Offer, Terms, recommend
from mopt_cli._errors import CliError, ExitCode
from mopt_cli.sizing import Choice, Prices, sized

DIGEST = f"sha256:{'0' * 64}"
RATES = {"half": (0.5, 20.0), "one": (1.0, 45.0), "two": (2.0, 80.0)}
LATENCY = Latency(p50=20, p90=35, p99=48)
OBJECTIVE = {"metric": "Throughput"}
NONE = Prices()


def load(rate: float, instances: int) -> LoadFigures:
    return LoadFigures(
        scenario="Server",
        serving=Serving(instances=instances, threads=1, batch=1),
        throughput=rate,
        latency_ms=LATENCY,
        queries=500,
    )


def form(rate: float, instances: int) -> dict[str, Any]:
    return {
        "name": "openvino-int8",
        "runtime": "OpenVINO",
        "precision": "INT8",
        "state": "Passed",
        "latencyMs": LATENCY.to_api(),
        "throughput": rate,
        "peakMemoryBytes": 300 * 2**20,
        "load": load(rate, instances).to_api(),
    }


def resource(price: float | None = 0.05, **objective: object) -> dict[str, Any]:
    """Return a resource with three targets, and what the operator recommends."""
    wanted = Objective.model_validate(OBJECTIVE | objective)
    offers, targets = [], []
    for name, (cpus, rate) in RATES.items():
        instances = max(1, int(cpus))
        terms = Terms(price=price and price * cpus, cpus=cpus)
        figures = Figures(load=load(rate, instances))
        single = Serving(instances=1, threads=1, batch=1)
        offers.append(Offer(name, "openvino-int8", figures, single, terms))
        targets.append(
            {
                "name": name,
                "hardware": {"threads": instances},
                "variants": [form(rate, instances)],
                "baseline": form(rate / 2, instances) | {"name": "baseline"},
                "selected": "openvino-int8",
                "report": {"digest": DIGEST, "uri": "s3://out/r"},
            }
        )
    told = recommend(offers, wanted)
    return {
        "apiVersion": "mopt.dev/v1alpha1",
        "kind": "ModelOptimization",
        "metadata": {"name": "sr", "namespace": "team"},
        "spec": {"objective": wanted.to_api()},
        "status": {"targets": targets, "recommendation": told.to_api() if told else None},
    }


def result(name: str, rate: float, threads: int) -> MeasureResult:
    point = PointResult(
        point="opt", latency_ms=LATENCY, throughput=rate, runs=9, coefficient_of_variation=0.01
    )
    form = VariantResult(
        name="baseline",
        runtime=Runtime.ONNX_RUNTIME,
        precision=Precision.FP32,
        state=VariantState.PASSED,
        points=[point],
    )
    return MeasureResult(
        target=name,
        source=SourceInfo(sha256="0" * 64, format=ModelFormat.ONNX, size_bytes=9),
        prepared=DIGEST,
        hardware=Hardware(threads=threads),
        software={},
        baseline=form,
        variants=[],
        selected="baseline",
        objective_point="opt",
        plan={"objective": OBJECTIVE},
    )


def test_rate_becomes_replicas_cost_and_resources() -> None:
    found = sized(Choice.of_resource(resource(), NONE), rate=200, prices=NONE)
    assert (found.target, found.variant, found.basis) == ("two", "openvino-int8", "Measured")
    assert (found.replicas, found.cost_per_day) == (3, 7.2)
    assert found.resources is not None
    assert found.autoscaling is not None
    assert found.resources.to_api() == {"cpu": "2", "memory": "768Mi"}
    assert found.autoscaling.to_api() == {
        "minReplicas": 3,
        "maxReplicas": 6,
        "requestsPerSecond": 80.0,
    }


def test_prices_given_here_take_the_place_of_the_profiles() -> None:
    raw = resource(metric="CostPerMillion")
    assert sized(Choice.of_resource(raw, NONE), prices=NONE).target == "one"
    prices = Prices.parse(["half=0.001", "9"])
    found = sized(Choice.of_resource(raw, prices), rate=100, prices=prices)
    assert (found.target, found.replicas, found.cost_per_day) == ("half", 5, 0.12)
    assert found.resources is not None
    assert found.resources.cpu == "500m"


def test_unmeasured_cpu_limit_is_extrapolated() -> None:
    prices = Prices.parse(["0.08"])
    found = sized(Choice.of_resource(resource(), prices), rate=100, cpus=1.5, prices=prices)
    assert found.basis == "Extrapolated"
    # Half a CPU computes nothing beside a whole one: threads stay within the limit.
    assert found.throughput == pytest.approx(45)
    assert (found.replicas, found.cost_per_day, found.cpus) == (3, 5.76, 1.5)


@pytest.mark.parametrize("texts", [["much"], ["-1"], ["a=nan"], ["inf"], ["="]])
def test_what_is_no_price_is_refused(texts: list[str]) -> None:
    with pytest.raises(CliError, match="write PRICE or TARGET=PRICE"):
        Prices.parse(texts)


def test_price_of_a_target_that_is_not_there_is_refused() -> None:
    with pytest.raises(CliError, match="no target three has a winner; these: half, one, two"):
        Choice.of_resource(resource(), Prices.parse(["three=1"]))


def test_nothing_within_the_bounds_ends_as_no_winner() -> None:
    bound = {"metric": "CostPerMillion", "maximum": "0.0001"}
    choice = Choice.of_resource(resource(constraints=[bound]), NONE)
    with pytest.raises(CliError, match=r"No target can be recommended\. half: Cost") as error:
        sized(choice, prices=NONE)
    assert error.value.code is ExitCode.NO_WINNER


def test_nothing_selected_yet_is_said() -> None:
    choice = Choice.of_resource({"spec": {}, "status": {}}, NONE)
    with pytest.raises(CliError, match="no target has a winner yet"):
        sized(choice, prices=NONE)


def test_results_without_load_are_estimates() -> None:
    results = [result("a", 40, 2), result("b", 50, 4)]
    prices = Prices.parse(["a=0.1", "b=0.2"])
    found = sized(Choice.of_results(results, prices), rate=70, prices=prices)
    assert (found.target, found.basis, found.replicas) == ("b", "Estimated", 2)
    with pytest.raises(CliError, match="two results of target a"):
        Choice.of_results([results[0], results[0]], NONE)


def test_the_pareto_front_runs_through_all_forms_of_all_targets() -> None:
    found = sized(Choice.of_resource(resource(), NONE), prices=NONE)
    by = {f"{each.target}/{each.variant}": each.dominated_by for each in found.tradeoffs}
    assert len(by) == 6
    # By single calls all are equal, and the price of a CPU is one; per million `one` is cheapest.
    assert by["one/openvino-int8"] is None
    assert by["half/openvino-int8"] == "one/openvino-int8"
    assert by["one/baseline"] is None  # Of its own quality.
    predicted = sized(Choice.of_resource(resource(), NONE), cpus=1.5, prices=NONE)
    assert predicted.tradeoffs == []


def test_command_reads_a_resource_and_results(mopt: Mopt, tmp_path: Path) -> None:
    file = tmp_path / "sr.json"
    file.write_text(json.dumps(resource()))
    done = mopt("recommend", "-f", str(file), "--rate", "200")
    assert done.returncode == 0, done.stderr
    assert "200 requests/s: 3 replicas, 7.20 a day" in done.stdout
    assert "Pareto front: quality, latency, memory, cost" in done.stdout
    assert "4 more are nowhere better: -o json has all" in done.stdout
    assert "serve: openvino-int8 on two, 2 copies x 1 thread, batch 1; Measured" in done.stdout
    paths = [tmp_path / "a" / "result.json", tmp_path / "b" / "result.json"]
    for path, name in zip(paths, "ab", strict=True):
        path.parent.mkdir()
        path.write_text(json.dumps(result(name, 40, 2).to_api()))
    done = mopt("recommend", *map(str, paths), "--rate", "30", "-o", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["replicas"] == 2
    for wrong in (("--rate", "-1"), ("--cpus", "0"), ("--price-per-hour", "x"), ("nothing.json",)):
        assert mopt("recommend", "-f", str(file), *wrong).returncode == 2
