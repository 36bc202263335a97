"""The recommendation: as by brute force for any prices, and within what nobody may exceed."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from present import present

from mopt_api.constraints import Figures
from mopt_api.enums import ObjectiveMetric
from mopt_api.figures import Latency, LoadFigures, Serving
from mopt_api.objective import Objective
from mopt_api.offers import predicted
from mopt_api.recommendation import Offer, Terms, Watts, recommend

# As three CPU limits might be measured: samples per second of one replica.
THROUGHPUT = {0.5: 21.4, 1.0: 46.1, 2.0: 84.9}


def offer(
    cpus: float,
    price: float | None,
    *,
    scenario: str = "Server",
    loaded: bool = True,
    watts: Watts | None = None,
    p50: float = 20.0,
) -> Offer:
    serving = Serving(instances=max(1, int(cpus)), threads=1, batch=1)
    latency = Latency(p50=p50, p90=30, p99=48)
    load = LoadFigures(
        scenario=scenario,
        serving=serving,
        throughput=THROUGHPUT[cpus],
        latency_ms=latency,
        queries=900,
    )
    return Offer(
        target=f"cpu-{cpus}".replace(".", "-"),
        variant="openvino-int8",
        figures=Figures(
            latency_ms=latency,
            throughput=THROUGHPUT[cpus],
            size_bytes=1000,
            peak_memory_bytes=int(1000 * cpus),
            load=load if loaded else None,
        ),
        single=Serving(instances=1, threads=2, batch=1),
        terms=Terms(price=price, cpus=cpus, watts=watts),
    )


def by_cost(*constraints: dict[str, object]) -> Objective:
    return Objective.model_validate({"metric": "CostPerMillion", "constraints": list(constraints)})


PRICE = st.floats(0.001, 10).map(lambda price: float(f"{price:.4g}"))


@settings(max_examples=200)
@given(st.tuples(PRICE, PRICE, PRICE))
def test_cheapest_target_is_that_of_brute_force(prices: tuple[float, float, float]) -> None:
    offers = [offer(cpus, price) for cpus, price in zip(THROUGHPUT, prices, strict=True)]
    found = present(recommend(offers, by_cost()))
    hours = {cpus: 1e6 / rate / 3600 for cpus, rate in THROUGHPUT.items()}
    costs = [hours[cpus] * price for cpus, price in zip(THROUGHPUT, prices, strict=True)]
    chosen = [o.target for o in offers].index(str(found.target))
    assert costs[chosen] == pytest.approx(min(costs), rel=1e-12)
    assert found.cost_per_million == pytest.approx(min(costs), rel=1e-3)
    assert [c.target for c in found.considered] == [o.target for o in offers]


@given(
    st.sampled_from([m for m in ObjectiveMetric if m is not ObjectiveMetric.COST_PER_MILLION]),
    st.permutations(list(THROUGHPUT)),
)
def test_other_objectives_need_no_price(metric: ObjectiveMetric, order: list[float]) -> None:
    offers = [offer(cpus, None, p50=50 / cpus) for cpus in order]
    found = present(recommend(offers, Objective(metric=metric)))
    best = {
        ObjectiveMetric.LATENCY_P50: 2.0,
        ObjectiveMetric.THROUGHPUT: 2.0,
        ObjectiveMetric.PEAK_MEMORY: 0.5,
    }.get(metric, order[0])
    assert found.target == offer(best, None).target
    assert found.cost_per_million is None
    assert all(entry.cost_per_day is None for entry in found.replicas_for)


def test_of_equals_the_cheaper_is_taken() -> None:
    offers = [offer(1.0, 0.5), offer(2.0, 0.4)]
    assert present(recommend(offers, Objective(metric=ObjectiveMetric.SIZE_BYTES))).target == (
        "cpu-2-0"
    )


@given(st.tuples(PRICE, PRICE, PRICE), st.floats(0.01, 100))
def test_bound_on_cost_is_never_exceeded(prices: tuple[float, float, float], most: float) -> None:
    bound = {"metric": "CostPerMillion", "maximum": f"{most:.6f}"}
    objective = Objective.model_validate({"metric": "LatencyP50", "constraints": [bound]})
    offers = [offer(cpus, price) for cpus, price in zip(THROUGHPUT, prices, strict=True)]
    found = present(recommend(offers, objective))
    within = [o.target for o in offers if (o.cost_per_million or 0) <= float(f"{most:.6f}")]
    assert (found.target in within) if within else found.target is None
    refused = {c.target for c in found.considered if c.message}
    assert refused == {o.target for o in offers} - set(within)


def test_no_target_within_the_bound_says_by_how_much_each_misses_it() -> None:
    found = present(
        recommend([offer(1.0, 0.5)], by_cost({"metric": "CostPerMillion", "maximum": "2"}))
    )
    assert found.message == (
        "No target can be recommended. cpu-1-0: CostPerMillion 3.01 is 50.6 % above 2"
    )
    unpriced = present(recommend([offer(1.0, None)], by_cost()))
    assert unpriced.message is not None
    assert "its CostPerMillion is not known" in unpriced.message


@given(
    st.sampled_from(list(THROUGHPUT)), st.floats(0.01, 1e5), st.sampled_from(["Server", "Offline"])
)
def test_replicas_are_the_fewest_that_are_enough(cpus: float, rate: float, scenario: str) -> None:
    found = present(
        recommend([offer(cpus, 0.1, scenario=scenario)], Objective(), rates=[rate])
    ).replicas_for[0]
    share = 1.0 if scenario == "Server" else 0.7
    capacity = THROUGHPUT[cpus] * share
    assert found.replicas * capacity >= rate * (1 - 1e-8)
    assert found.replicas == 1 or (found.replicas - 1) * capacity < rate
    assert found.cost_per_day == pytest.approx(found.replicas * 0.1 * 24, rel=1e-3)


def test_an_exact_multiple_needs_no_replica_more() -> None:
    found = present(recommend([offer(1.0, 0.1)], Objective(), rates=[46.1 * 3]))
    assert found.replicas_for[0].replicas == 3


def test_energy_lies_between_idle_and_busy() -> None:
    watts = Watts(idle=10, busy=50)
    found = present(
        recommend([offer(1.0, 0.1, watts=watts)], Objective(), rates=[0.0, 46.1 / 2, 46.1])
    )
    energy = [entry.kilowatt_hours_per_day for entry in found.replicas_for]
    assert energy == [pytest.approx(0.24), pytest.approx(0.72), pytest.approx(1.2)]


def test_basis_says_what_was_measured_under_load() -> None:
    measured = present(recommend([offer(1.0, 0.1)], Objective()))
    estimated = present(recommend([offer(1.0, 0.1, loaded=False)], Objective(), rates=[46.1]))
    assert (measured.basis, estimated.basis) == ("Measured", "Estimated")
    assert present(estimated.serving).threads == 2
    # Calls one after the other say nothing of waiting: planned with 70 %.
    assert estimated.replicas_for[0].replicas == 2


def test_no_winner_no_recommendation() -> None:
    assert recommend([], Objective()) is None


@pytest.mark.parametrize(
    ("cpus", "basis", "instances"),
    [
        (1.5, "Extrapolated", 1),
        (2.9, "Extrapolated", 2),
        (4, "Extrapolated", 4),
        (9, "Estimated", 9),
    ],
)
def test_unmeasured_cpu_limit_is_predicted(cpus: float, basis: str, instances: int) -> None:
    offers = [offer(each, 0.1) for each in THROUGHPUT]
    found = present(predicted(offers, cpus, price=0.3))
    assert (found.rests_on, found.serving.instances) == (basis, instances)
    assert (found.terms.price, found.terms.cpus) == (0.3, cpus)
    # Threads compute on whole CPUs.
    whole = math.floor(cpus)
    assert math.isclose(found.throughput, THROUGHPUT[2.0] * whole / 2, rel_tol=0.25)
    alone = present(predicted(offers[:1], cpus))
    assert alone.rests_on == "Estimated"
    assert alone.throughput == pytest.approx(21.4 * whole / 0.5)
    assert predicted([], cpus) is None
    unloaded = [offer(each, 0.1, loaded=False) for each in THROUGHPUT]
    assert present(predicted(unloaded, cpus)).rests_on == "Estimated"
