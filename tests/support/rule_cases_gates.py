"""Cases of the CRD's rules on what decides: gates, benchmark, objective and load."""

from __future__ import annotations

from spec_fields import (
    IMAGES,
    MEMORY,
    P99,
    Case,
    bounded,
    constraints,
    gate,
    gates,
    points,
)

PSNR = {"metric": "PSNR", "minimum": 40}
ONE_SIDE = "Throughput takes minimum, every other metric maximum"
A_TIME = "a latency is bounded by a time with its unit, such as 50ms"
NO_TIME = "only latencies are bounded by a time"
GATES: list[Case] = [
    (gate("PSNR", minimum=40), gate("PSNR"), "a gate needs either minimum or maximum"),
    (
        gate("MaxAbsError", maximum=0.1),
        gate("MaxAbsError", maximum=0.1, minimum=0),
        "a gate needs either minimum or maximum",
    ),
    (
        gate("MaxAbsError", maximum=0.1),
        gate("MaxAbsError", minimum=0.1),
        "MaxAbsError takes maximum, every other metric minimum",
    ),
    (
        gate("SQNR", minimum=30),
        gate("SQNR", maximum=30),
        "MaxAbsError takes maximum, every other metric minimum",
    ),
    (
        gate("SSIM", minimum=-1),
        gate("SSIM", minimum=40),
        "minimum of SSIM and Cosine lies from -1 to 1",
    ),
    (
        gate("Cosine", minimum=1),
        gate("Cosine", minimum=-1.1),
        "minimum of SSIM and Cosine lies from -1 to 1",
    ),
    (
        gate("Top1Agreement", minimum=0.99),
        gate("Top1Agreement", minimum=99),
        "minimum of Top1Agreement, DetectionF1, SequenceAgreement and NeighborAgreement is a share "
        "from 0 to 1",
    ),
    (
        gate("Cosine", minimum=0.9, aggregate="Tolerance"),
        gate("NeighborAgreement", minimum=0.9, aggregate="Tolerance"),
        "NeighborAgreement is of all samples together: aggregate Tolerance is for metrics of ",
    ),
    (
        gates(PSNR | {"dataRange": 255}, PSNR | {"dataRange": 255, "aggregate": "Mean"}),
        gates(PSNR, PSNR | {"dataRange": 255, "aggregate": "Mean"}),
        "two gates on one metric need the same dataRange",
    ),
    (
        gates(PSNR | {"output": "boxes"}, PSNR | {"output": "scores"}),
        gates(PSNR | {"output": "boxes"}, PSNR | {"output": "boxes"}),
        "Duplicate value in quality: two gates on one metric, aggregate, output and slice",
    ),
    (
        gates(PSNR | {"slice": {"name": "boxes", "range": [0, 4]}}),
        gates(PSNR | {"slice": {"name": "boxes", "range": [4, 4]}}),
        "range is the first index and the one after the last: the second must be larger",
    ),
    (
        gates(
            PSNR | {"slice": {"name": "boxes", "range": [0, 4]}},
            PSNR | {"aggregate": "Mean", "slice": {"name": "boxes", "range": [0, 4]}},
        ),
        gates(
            PSNR | {"slice": {"name": "boxes", "range": [0, 4]}},
            PSNR | {"aggregate": "Mean", "slice": {"name": "boxes", "range": [0, 5]}},
        ),
        "two slices of one name need the same axis and range",
    ),
]
MEASURING: list[Case] = [
    (
        {"quality": [], "data": {}},
        {"data": {"calibration": IMAGES}},
        "quality needs data.evaluation: gates are judged on real data only",
    ),
    (
        {"benchmark": {"points": points({"batch": 4}, {"height": 32})}},
        {"benchmark": {"points": points({"batch": 5})}},
        "a benchmark point's dimensions must be declared and lie between min and max",
    ),
    (
        {"benchmark": {"points": points({})}},
        {"benchmark": {"points": points({"depth": 1})}},
        "a benchmark point's dimensions must be declared and lie between min and max",
    ),
    (
        {"benchmark": {"points": points({})}, "objective": {"point": "p0"}},
        {"benchmark": {"points": points({})}, "objective": {"point": "p1"}},
        "objective.point must name one of benchmark.points",
    ),
    *(
        (constraints({"metric": metric} | good), constraints({"metric": metric} | bad), ONE_SIDE)
        for metric, good, bad in (
            ("Throughput", {"minimum": 20}, {"maximum": 20}),
            ("Throughput", {"minimum": "1k"}, {}),
            ("LatencyP50", {"maximum": "5ms"}, {"minimum": "5ms"}),
            ("SizeBytes", {"maximum": "4Mi"}, {"maximum": "4Mi", "minimum": 1}),
        )
    ),
    *(
        (constraints(bounded(metric, good)), constraints(bounded(metric, bad)), A_TIME)
        for metric, good, bad in (
            ("LatencyP50", "0.5s", 50),
            ("LatencyP90", "500us", "50"),
            ("LatencyP99", "50ms", "50m"),
        )
    ),
    *(
        (constraints(bounded(metric, good)), constraints(bounded(metric, "50ms")), NO_TIME)
        for metric, good in (("PeakMemory", "2Gi"), ("SizeBytes", 10), ("CostPerMillion", "0.35"))
    ),
    (
        constraints({"metric": "Throughput", "minimum": "200"}),
        constraints({"metric": "Throughput", "minimum": "200ms"}),
        NO_TIME,
    ),
    *(
        (
            {"benchmark": {"load": good}, "objective": {"constraints": bounds}},
            {"benchmark": {"load": bad}, "objective": {"constraints": others}},
            "benchmark.load with scenario Server needs a latency in objective.constraints",
        )
        for good, bounds, bad, others in (
            ({}, [P99], {}, []),
            ({"scenario": "Server"}, [MEMORY, P99], {"scenario": "Server"}, [MEMORY]),
            ({"scenario": "Offline"}, [], {"scenario": "Server"}, []),
        )
    ),
    ({"benchmark": {}}, {"benchmark": {"load": {}}}, "benchmark.load with scenario Server needs"),
]
