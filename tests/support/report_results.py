"""The largest result that the API allows, for pages: names as long as can be, every reason."""

from __future__ import annotations

import numpy as np
import skimage.data

from mopt_api.artifacts import Artifact, ArtifactFormat
from mopt_api.benchmark import Benchmark, BenchmarkPoint
from mopt_api.enums import (
    Aggregate,
    ModelFormat,
    ObjectiveMetric,
    Precision,
    QualityMetric,
    Runtime,
)
from mopt_api.figures import (
    Hardware,
    Latency,
    LoadFigures,
    QualityResult,
    Serving,
    SourceInfo,
    VariantReason,
    VariantState,
)
from mopt_api.jobs.crops import Crops
from mopt_api.jobs.limits import (
    Bandwidth,
    Bound,
    ExecutedLayers,
    Limit,
    Peaks,
    Work,
)
from mopt_api.jobs.load_result import LoadSearch, LoadStop, LoadTrial
from mopt_api.jobs.measure_result import Disturbance, MeasureResult, PointResult, VariantResult
from mopt_api.jobs.plan import ReportPlan
from mopt_api.jobs.prepare_result import (
    FallbackReport,
    LayerReport,
    PassReport,
    PreparedArtifact,
    PrepareResult,
    QuantizationReport,
    Verification,
)
from mopt_api.jobs.selection import select
from mopt_api.load import Load
from mopt_api.metrics import METRICS
from mopt_api.objective import Constraint, Objective
from mopt_api.spec import QualityGate
from mopt_optimizer.stages.measure.gallery import Gallery
from mopt_optimizer.timing.interleave import point_result

DIGEST = f"sha256:{'0' * 64}"
POINTS = [f"point-{n}-{'m' * 32}" for n in range(8)]
SAMPLES = 6
GATES = [
    QualityGate(metric=QualityMetric.PSNR, minimum=40),
    QualityGate(metric=QualityMetric.SSIM, minimum=0.97, aggregate=Aggregate.MEAN),
    QualityGate(metric=QualityMetric.COSINE, minimum=0.999),
    QualityGate(metric=QualityMetric.MAX_ABS_ERROR, maximum=0.1),
]
NOT_SERVED = f"01-{'w' * 29}"
"""End of the name of a variant for which no configuration was found."""
BOUNDS = [
    Constraint(metric=ObjectiveMetric.LATENCY_P99, maximum="60ms"),
    Constraint(metric=ObjectiveMetric.THROUGHPUT, minimum=100),
    Constraint(metric=ObjectiveMetric.PEAK_MEMORY, maximum="2Gi"),
    Constraint(metric=ObjectiveMetric.COST_PER_MILLION, maximum="0.35"),
]
JUDGED = (VariantReason.QUALITY_GATE, VariantReason.CONSTRAINT)
UNBUILT = [reason for reason in VariantReason if reason not in JUDGED]


def plan(gates: list[QualityGate] | None = None) -> ReportPlan:
    return ReportPlan(
        target="l4",
        result=DIGEST,
        quality=GATES if gates is None else gates,
        objective=Objective(minimum_speedup=1.2, constraints=BOUNDS),
        benchmark=Benchmark(points=[BenchmarkPoint(name=point) for point in POINTS], load=Load()),
        output_uri="s3://optimized/large",
    )


def _points(rng: np.random.Generator, milliseconds: float) -> list[PointResult]:
    spread = rng.gamma(4, 0.05, 200) + 0.9
    return [
        point_result(
            BenchmarkPoint(name=point, dimensions={"batch": n + 1, "height": 128}),
            [int(ms * 1e6) for ms in spread * milliseconds * (n + 1)],
            n + 1,
        ).model_copy(
            update={
                "work": Work(
                    products={"FP32": 61 * (n + 1) * 10**8, "INT8": 39 * (n + 1) * 10**8},
                    moved_bytes=(n + 1) * 10**7,
                ),
                "limit": Limit(
                    limit_ms=milliseconds * (n + 1) / 4, share=0.25, bound=Bound.COMPUTE
                ),
            }
        )
        for n, point in enumerate(POINTS)
    ]


def _quality(rng: np.random.Generator, psnr: float) -> list[QualityResult]:
    values = {
        QualityMetric.PSNR: psnr + rng.random(SAMPLES) * 3,
        QualityMetric.SSIM: 1 - 10 ** (-psnr / 25) * rng.random(SAMPLES),
        QualityMetric.COSINE: 1 - 10 ** (-psnr / 15) * rng.random(SAMPLES),
        QualityMetric.MAX_ABS_ERROR: 10 ** (-psnr / 30) * (1 + rng.random(SAMPLES)),
    }
    return [
        QualityResult(
            metric=metric,
            worst=float(found.min() if METRICS[metric].higher_is_better else found.max()),
            mean=float(found.mean()),
            per_sample=found.tolist(),
        )
        for metric, found in values.items()
    ]


def _variant(name: str, rng: np.random.Generator, ms: float, psnr: float | None) -> VariantResult:
    return VariantResult(
        name=name,
        runtime=Runtime.OPENVINO,
        precision=Precision.FP32 if psnr is None or psnr > 100 else Precision.INT8,
        state=VariantState.PASSED,
        artifact=Artifact(
            digest=DIGEST, size_bytes=int(ms * 1e5), format=ArtifactFormat.ONNX, uri="s3://b/k"
        ),
        peak_memory_bytes=int(ms * 1e7),
        quality=[] if psnr is None else _quality(rng, psnr),
        points=_points(rng, ms),
        load=_load(name, ms),
        load_search=LoadSearch(trials=_trials(ms), stopped=LoadStop.CONVERGED, seconds=31.5),
        executed=ExecutedLayers(
            by_type={"FP32": 12, "INT8": 28},
            products={"FP32": 61 * 10**8, "INT8": 39 * 10**8},
            conversions=26,
        ),
        seconds=ms,
    )


def _serving(instances: int) -> Serving:
    return Serving(instances=instances, threads=1, batch=1)


def _latency(ms: float, busy: float) -> Latency:
    """Return the latency of a queue that is so busy: more waiting, the more so at the tail."""
    wait = ms * busy / (1 - busy)
    return Latency(p50=ms + wait * 0.5, p90=ms + wait * 1.5, p99=ms + wait * 3)


def _trials(ms: float) -> list[LoadTrial]:
    found = []
    for instances in (1, 2, 4):
        for busy in (0.3, 0.5, 0.7, 0.8, 0.9, 0.95):
            latency = _latency(ms * instances / 2, busy)
            found.append(
                LoadTrial(
                    serving=_serving(instances),
                    offered=1900 / ms * busy,
                    throughput=1900 / ms * busy,
                    latency_ms=latency,
                    queries=600,
                    seconds=5,
                    valid=latency.p99 <= 60,
                )
            )
    return found


def _load(name: str, ms: float) -> LoadFigures | None:
    if name.endswith(NOT_SERVED):
        return None
    best = max((t for t in _trials(ms) if t.valid), key=lambda t: t.throughput)
    return LoadFigures(
        scenario="Server",
        serving=best.serving,
        throughput=best.throughput,
        latency_ms=best.latency_ms,
        queries=best.queries,
    )


def _failed(name: str, reason: VariantReason) -> VariantResult:
    skipped = reason in (VariantReason.NO_CALIBRATION_DATA, VariantReason.NO_NATIVE_BF16)
    return VariantResult(
        name=name,
        runtime=Runtime.ONNX_RUNTIME,
        precision=Precision.INT8,
        state=VariantState.SKIPPED if skipped else VariantState.FAILED,
        reason=reason,
        message=f"/usr/lib/{'x' * 200}.so: {'the words of the runtime ' * 30}",
    )


def result(first_name: str = "v" * 40, *, measured: int = 5) -> MeasureResult:
    """Return 12 variants: some measured, the others with a reason each.

    Args:
        first_name: Taken as it is, though the API would refuse it.
        measured: How many, above 1; 12 for a chart as full as can be.
    """
    rng = np.random.default_rng(3)
    names = [f"variant-{n:02}-{'w' * 29}" for n in range(12)]
    figures = [(3.0 * (1 + 0.02 * n), 36.0 + 9 * n) for n in range(measured)]
    variants = [_variant(names[n], rng, *figure) for n, figure in enumerate(figures)]
    variants += [
        _failed(names[measured + n], UNBUILT[n % len(UNBUILT)]) for n in range(12 - measured)
    ]
    variants[0] = variants[0].model_copy(update={"name": first_name})
    told = plan()
    verdict = select(
        _variant("baseline", rng, 12.0, None),
        variants,
        gates=told.quality,
        objective=told.objective,
        benchmark=told.benchmark,
    )
    return MeasureResult(
        target="l4",
        source=SourceInfo(
            sha256="0" * 64, format=ModelFormat.ONNX, size_bytes=2_000_000, parameters=600_000
        ),
        prepared=DIGEST,
        hardware=Hardware(
            cpu="A Processor With a Long Name @ 3.00GHz",
            architecture="x86_64",
            cpu_features=["avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8"],
            threads=2,
            memory_bytes=2**33,
            node="node-1.example.com",
        ),
        software={"onnxruntime": "1.23.0", "openvino": "2026.0.0"},
        baseline=verdict.baseline,
        variants=verdict.variants,
        selected=verdict.selected,
        objective_point=POINTS[0],
        evaluation_digest=DIGEST,
        evaluation_samples=SAMPLES,
        evaluation_names=[f"folder/photograph-{n}-{'o' * 80}.png" for n in range(SAMPLES)],
        peaks=Peaks(
            products={"FP32": 1e11, "INT8": 1.9e11},
            bandwidths=[
                Bandwidth(data_bytes=2**22, bytes_per_second=5e10),
                Bandwidth(data_bytes=2**28, bytes_per_second=1e10),
            ],
        ),
        disturbance=Disturbance(throttled_periods=12, steal_seconds=1.5),
        seconds={"manifest": 0.1, "evaluationData": 3.2, "trials": 180.0},
        measured_at="2026-01-02T03:04:05Z",
        plan={"stage": "Measure", "model": {"uri": f"s3://models/{'long/' * 30}model.onnx"}},
    )


def targets() -> list[MeasureResult]:
    """Return results of three targets, one with a name as long as can be, that say what judged
    them."""
    judged = plan().to_api()
    told = {name: judged[name] for name in ("quality", "objective", "benchmark")}
    found = []
    for target, measured in (("l4", 5), ("arm", 9), ("t" * 40, 5)):
        one = result(measured=measured)
        found.append(one.model_copy(update={"target": target, "plan": (one.plan or {}) | told}))
    return found


def manifest() -> PrepareResult:
    """Return a prepare Job's manifest with one of everything that a page tells."""
    layers = [
        LayerReport(
            name=f"node_conv2d_{n}_{'deep/' * 12}",
            op="Conv",
            macs=10**9 // (n + 1),
            quality_alone=40.0 + n,
            noise_share=0.5 ** (n + 1),
            excluded=n < 2,
        )
        for n in range(70)
    ]
    return PrepareResult(
        source=result().source,
        artifacts=[
            PreparedArtifact(
                name="fp32",
                artifact=Artifact(digest=DIGEST, size_bytes=1, format=ArtifactFormat.ONNX),
            )
        ],
        artifacts_by_kind={},
        verifications=[
            Verification(dimensions={"batch": 1, "height": 128}, max_abs_error=3.5e-7, passed=True)
        ],
        passes=[
            PassReport(
                name=name,
                outcome=outcome,
                nodes_before=90,
                nodes_after=80,
                seconds=0.2,
                message=message,
            )
            for name, outcome, message in (
                ("fold_constants", "Kept", None),
                ("fuse_layer_norm", "RolledBack", "computes something else at batch 2"),
                ("eliminate_identity", "NoChange", None),
            )
        ],
        calibration_digest=DIGEST,
        calibration_samples=16,
        quantizations=[
            QuantizationReport(
                name="int8-minmax-perchannel-gated",
                quantized_nodes=33,
                fallbacks=[
                    FallbackReport(
                        metric=QualityMetric.PSNR,
                        aggregate=Aggregate.WORST,
                        minimum=40,
                        required=40.5,
                        quality_all_int8=38.2,
                        quality=43.1,
                        int8_mac_share=0.7,
                        trials=9,
                        exclude=[layers[0].name, layers[1].name],
                        layers=layers,
                    )
                ],
            )
        ],
        seconds={"fetch": 0.3, "export": 9.1, "passes": 4.0},
    )


def crops(measured: MeasureResult) -> Crops:
    """Return pictures of photographs with noise, as much as each variant's PSNR says."""
    rng = np.random.default_rng(5)
    picture = skimage.data.astronaut().astype(np.float32) / 255  # type: ignore[no-untyped-call]
    image = picture.transpose(2, 0, 1)[np.newaxis]
    small = np.ascontiguousarray(image[..., ::4, ::4])
    gallery = Gallery(1.0)
    inputs = {"image": small}
    outputs = {
        v.name: image + rng.normal(0, 10 ** (-v.quality[0].worst / 20), image.shape)
        for v in measured.variants
        if v.quality
    }
    for number, output in enumerate(outputs.values()):
        for name, other in outputs.items():
            noisy = output if other is output else (image + other) / 2
            gallery.observe(number % SAMPLES, name, inputs, [image], [noisy])
    for number in gallery.chosen():
        gallery.keep_reference(number, inputs, [image])
        for name, output in outputs.items():
            gallery.keep(number, name, [output])
    found = gallery.crops()
    assert found is not None
    return found
