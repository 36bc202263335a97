"""Every rule of the CRD, with an accepted and a rejected object, on a real API server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from light_cluster import Api
from operator_world import MakeManifest
from pydantic import ValidationError

from mopt_api.crd import custom_resource_definition
from mopt_api.spec import ModelOptimizationSpec

pytestmark = pytest.mark.cluster

Json = dict[str, Any]
Try = Callable[..., None]

IMAGES = {"uri": "s3://data/images/"}


def dimension(**size: int) -> Json:
    return {
        "dimensions": {
            "batch": {"min": 1, "opt": 1, "max": 4},
            "height": {"min": 32, "opt": 128, "max": 256} | size,
            "width": {"min": 32, "opt": 128, "max": 256},
        }
    }


def images(**transform: object) -> Json:
    return {"data": {"evaluation": IMAGES | {"images": transform}}}


def calibration(uri: str, **fields: object) -> Json:
    return {"data": {"calibration": {"uri": uri} | fields, "evaluation": IMAGES}}


def references(uri: str, samples: str = "s3://data/images/", **fields: object) -> Json:
    return {"data": {"evaluation": {"uri": samples, "references": {"uri": uri}} | fields}}


def archives(uri: str, truth: str, **fields: object) -> Json:
    source = {"uri": uri} | DIGEST
    return {"data": {"evaluation": source | fields | {"references": {"uri": truth} | DIGEST}}}


def variant(**fields: object) -> Json:
    plain = {"name": "a", "runtime": "ONNXRuntime", "precision": "FP32"}
    return {"variants": [plain | fields]}


PSNR = {"metric": "PSNR", "minimum": 40}


def gates(*each: Json) -> Json:
    return {"quality": list(each), "data": {"evaluation": IMAGES}}


def gate(metric: str, **bounds: float | str) -> Json:
    return gates({"metric": metric} | bounds)


def int8(runtime: str = "ONNXRuntime", **quantization: object) -> Json:
    return variant(runtime=runtime, precision="INT8", quantization=quantization)


def points(*sizes: Json) -> list[Json]:
    return [{"name": f"p{n}", "dimensions": size} for n, size in enumerate(sizes)]


def inputs(*shapes: Sequence[int | str]) -> Json:
    return {"inputs": [{"name": f"x{n}", "shape": shape} for n, shape in enumerate(shapes)]}


def oci(**fields: object) -> Json:
    return {"publish": {"oci": {"repository": "registry.example/team/sr"} | fields}}


def constraints(*each: Json) -> Json:
    return {"objective": {"constraints": list(each)}}


def bounded(metric: str, maximum: int | float | str) -> Json:
    return {"metric": metric, "maximum": maximum}


MODEL = {"uri": "s3://models/sr.pt2", "sha256": "a" * 64, "format": "ONNX"}
WEB = "https://models.example.com:8443/v1.0/net.onnx"
CLAIM = "pvc://models/sr/v1.0/..data/sr.pt2"
NO_KEYS = "a claim is mounted without credentials: leave credentialsSecretRef out"
NOT_SENT = "no credentials are sent to https:// places: leave credentialsSecretRef out"
KEYLESS = "claims and web servers are read without credentials: leave credentialsSecretRef out"
NEEDS_DIGEST = "data on a web server, or in an archive, needs sha256: the digest of the file"
ONE_FILE = "with sha256, uri is one file, a .zip, .tar, .tar.gz, .tgz, .npz or .npy"
SEPARATE = "references.uri and uri must be separate folders, neither inside the other"
STORE = {"credentialsSecretRef": {"name": "store"}}
DIGEST = {"sha256": "a" * 64}
ZIP = "https://data.example.com/v1.0/pictures.zip"
ANONYMOUS = "credentials: Anonymous is for s3:// places alone"
PATHS = "no part of a path in a claim is empty, . or .."
P99 = bounded("LatencyP99", "50ms")
MEMORY = bounded("PeakMemory", "2Gi")
ONE_SIDE = "Throughput takes minimum, every other metric maximum"
A_TIME = "a latency is bounded by a time with its unit, such as 50ms"
NO_TIME = "only latencies are bounded by a time"
VALUES_AT_OPT = "an input has more than 1073741824 values with its dimensions at opt"
DYNAMIC = "quantization mode Dynamic needs runtime ONNXRuntime or PyTorch"
ALONE = "quantization mode WeightOnly needs runtime ONNXRuntime or OpenVINO"
NNCF = "quantization method NNCF needs runtime OpenVINO"
BUDGET = "searchBudgetSeconds is for the search of mode Static and fallback Auto"
BUDGET_FIELD = "spec.variants[0].quantization.searchBudgetSeconds"

# Each: accepted, rejected, the words of the rejection.
RULES: list[tuple[Json, Json, str]] = [
    (dimension(opt=256), dimension(opt=300), "min <= opt <= max must hold"),
    (dimension(min=128), dimension(min=129), "min <= opt <= max must hold"),
    (
        dimension(multipleOf=32),
        dimension(multipleOf=48),
        "min, opt and max must be multiples of multipleOf",
    ),
    (oci(tags=["a", "b"]), oci(tags=["a", "a"]), "each tag may be named once"),
    (
        {"model": MODEL | {"uri": WEB}},
        {"model": MODEL | {"uri": WEB, "credentialsSecretRef": {"name": "store"}}},
        NOT_SENT,
    ),
    (calibration(ZIP, **DIGEST), calibration(ZIP), NEEDS_DIGEST),
    (calibration("pvc://data/a.tgz#b", **DIGEST), calibration("pvc://data/a.tgz#b"), NEEDS_DIGEST),
    (calibration(ZIP, **DIGEST), calibration(ZIP, **DIGEST, **STORE), NOT_SENT),
    *(
        (
            calibration(f"s3://data/images{end}", **DIGEST),
            calibration("s3://data/images/", **DIGEST),
            ONE_FILE,
        )
        for end in (".zip", ".tar", ".tar.gz#a/b", ".tgz#a", ".npz", ".npy")
    ),
    (calibration(f"{ZIP}#a", **DIGEST), calibration(f"{ZIP}.npz#a", **DIGEST), ONE_FILE),
    (archives(f"{ZIP}#a", f"{ZIP}#b"), archives(f"{ZIP}#a", ZIP), SEPARATE),
    (archives(f"{ZIP}#a", f"{ZIP}#ab"), archives(f"{ZIP}#a", f"{ZIP}#a/b"), SEPARATE),
    (
        archives(ZIP, "s3://data/truth.zip", **STORE),
        archives(ZIP, "pvc://data/truth.zip", **STORE),
        KEYLESS,
    ),
    (
        references("s3://truth", ZIP, **DIGEST),
        references(ZIP, "s3://data/images/"),
        NEEDS_DIGEST,
    ),
    (
        {"model": MODEL | {"uri": CLAIM}},
        {"model": MODEL | {"uri": CLAIM, "credentialsSecretRef": {"name": "store"}}},
        NO_KEYS,
    ),
    *(
        ({"model": MODEL | {"uri": CLAIM}}, {"model": MODEL | {"uri": f"pvc://{path}"}}, PATHS)
        for path in ("models/../x", "models/a/..", "models//a", "models/./a", "models/a//")
    ),
    (
        calibration("pvc://data/a/"),
        {"data": {"calibration": {"uri": "pvc://data", "credentialsSecretRef": {"name": "store"}}}},
        NO_KEYS,
    ),
    (
        calibration("pvc://data"),
        calibration("pvc://data/.."),
        PATHS,
    ),
    (
        # The references are read with them.
        references("s3://truth", "pvc://data", credentialsSecretRef={"name": "store"}),
        references("pvc://truth", "pvc://data", credentialsSecretRef={"name": "store"}),
        KEYLESS,
    ),
    (
        {"model": MODEL | {"credentials": "Anonymous", "credentialsSecretRef": {"name": "where"}}},
        {"model": MODEL | {"uri": WEB, "credentials": "Anonymous"}},
        ANONYMOUS,
    ),
    (
        {
            "model": MODEL
            | {"uri": "oci://registry.test/a:v1", "credentialsSecretRef": {"name": "pull"}}
        },
        {"model": MODEL | {"uri": "oci://registry.test/a:v1", "credentials": "Anonymous"}},
        ANONYMOUS,
    ),
    (
        calibration("s3://data", credentials="Anonymous"),
        calibration("pvc://data", credentials="Anonymous"),
        ANONYMOUS,
    ),
    (
        references("s3://truth", "pvc://data", credentials="Anonymous"),
        references("pvc://truth", "pvc://data", credentials="Anonymous"),
        ANONYMOUS,
    ),
    (
        {"output": {"uri": "pvc://out/sr"}},
        {"output": {"uri": "pvc://out/sr", "credentialsSecretRef": {"name": "store"}}},
        NO_KEYS,
    ),
    ({"output": {"uri": "pvc://out"}}, {"output": {"uri": "pvc://out/.."}}, PATHS),
    (references("pvc://data/t"), references("pvc://data/../t"), PATHS),
    (
        references("pvc://data/t", "pvc://data/e/"),
        references("pvc://data/t", "pvc://data/../e/"),
        PATHS,
    ),
    (images(mean=[0, 0, 0]), images(mean=[0]), "mean must be empty or have three values"),
    (images(std=[1, 1, 1]), images(std=[1, 1]), "std must be empty or have three values"),
    (
        images(mean=[0.5], std=[0.5], color="Gray"),
        images(mean=[0.5] * 3, color="Gray"),
        "mean must be empty or have three values, one per channel; with color Gray one",
    ),
    (
        images(std=[1, 1, 1], color="BGR"),
        images(std=[1, 1, 1], color="Gray"),
        "std must be empty or have three values, one per channel; with color Gray one",
    ),
    (
        images(resize=[64, 96], crop=[64, 96]),
        images(resize=[64, 96], crop=[64, 97]),
        "crop must not be larger than resize",
    ),
    *(
        (
            images(**{field: [4096, 8192]}),
            images(**{field: [4097, 8192]}),
            f"{field} must have at most 33554432 pixels",
        )
        for field in ("resize", "crop")
    ),
    (images(), images(resize=[65536, 65536]), "resize must have at most 33554432 pixels"),
    (inputs([2**30]), inputs([2**30 + 1]), VALUES_AT_OPT),
    (inputs([2**15, 2**15]), inputs([2**15, 2**15 + 1]), VALUES_AT_OPT),
    (inputs([*[1] * 7, 2**30]), inputs([2**31 - 1] * 8), VALUES_AT_OPT),
    (
        dimension(opt=256) | inputs(["height", "height", 2**14]),
        dimension(opt=256) | inputs(["height", "height", 2**14 + 1]),
        VALUES_AT_OPT,
    ),
    (
        inputs([1], [2**30]),
        inputs([1], [2**30, 2]),
        VALUES_AT_OPT,
    ),
    (
        dimension()
        | inputs(["height", 2**22])
        | {"benchmark": {"points": points({"height": 256})}},
        dimension()
        | inputs(["height", 2**22 + 1])
        | {"benchmark": {"points": points({}, {"height": 256})}},
        "an input has more than 1073741824 values at a benchmark point",
    ),
    (
        # One name begins with the other; the folder does not.
        references("s3://data/images-truth/"),
        references("s3://data/images/"),
        "references.uri and uri must be separate folders, neither inside the other",
    ),
    (
        references("s3://data/images-truth", "s3://data/images"),
        references("s3://data/images/truth/", "s3://data/images"),
        "references.uri and uri must be separate folders, neither inside the other",
    ),
    (
        references("s3://truth"),
        references("s3://data"),
        "references.uri and uri must be separate folders, neither inside the other",
    ),
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
    (
        variant(precision="INT8", quantization={}),
        variant(quantization={}),
        "quantization belongs to precision INT8, and to TensorRT's FP8",
    ),
    (
        variant(runtime="TensorRT", precision="FP8", quantization={}),
        variant(runtime="PyTorch", precision="FP8", quantization={}),
        "quantization belongs to precision INT8, and to TensorRT's FP8",
    ),
    *(
        (
            variant(runtime=runtime, precision=good),
            variant(runtime=runtime, precision=bad),
            "supported: PyTorch and TensorRT FP32, FP16, BF16, INT8 and FP8; ONNXRuntime FP32, "
            "FP16 and INT8; OpenVINO FP32, BF16 and INT8",
        )
        for runtime, good, bad in (
            ("OpenVINO", "BF16", "FP16"),
            ("ONNXRuntime", "FP16", "BF16"),
            ("ONNXRuntime", "INT8", "FP8"),
        )
    ),
    (
        variant(runtime="ONNXRuntime", executionProvider="CUDA"),
        variant(runtime="TensorRT", executionProvider="CUDA"),
        "executionProvider belongs to runtime ONNXRuntime",
    ),
    (
        int8(mode="Dynamic", calibrator="MinMax"),
        int8(mode="Dynamic", calibrator="Entropy"),
        "calibrator belongs to mode Static; leave it out with Dynamic",
    ),
    (
        int8(mode="Static", calibrator="Entropy"),
        int8(mode="Dynamic", calibrator="Percentile"),
        "calibrator belongs to mode Static; leave it out with Dynamic",
    ),
    (
        int8(mode="WeightOnly", calibrator="MinMax"),
        int8(mode="WeightOnly", calibrator="MSE"),
        "calibrator belongs to mode Static; leave it out with Dynamic and WeightOnly",
    ),
    *(
        (good, int8(mode="Dynamic", runtime="OpenVINO"), DYNAMIC)
        for good in (
            int8(mode="Dynamic"),
            int8(mode="Dynamic", runtime="PyTorch"),
            int8(runtime="OpenVINO"),
        )
    ),
    *(
        (
            int8(mode="WeightOnly", runtime=runtime),
            int8(mode="WeightOnly", runtime="PyTorch"),
            ALONE,
        )
        for runtime in ("ONNXRuntime", "OpenVINO")
    ),
    *(
        (
            int8(mode="WeightOnly", weightBits=4),
            int8(mode=mode, weightBits=4),
            "weightBits belongs to mode WeightOnly; leave it out with Static and Dynamic",
        )
        for mode in ("Static", "Dynamic")
    ),
    *(
        (int8(runtime="OpenVINO", method="NNCF"), int8(runtime=runtime, method="NNCF"), NNCF)
        for runtime in ("ONNXRuntime", "PyTorch")
    ),
    *(
        (
            int8(runtime="OpenVINO", method="NNCF", **good),
            int8(runtime="OpenVINO", method="NNCF", **bad),
            "method NNCF is static and chooses ranges and scales itself",
        )
        for good, bad in (
            ({"mode": "Static"}, {"mode": "Dynamic"}),
            ({"calibrator": "MinMax"}, {"calibrator": "Percentile"}),
            ({"perChannel": True}, {"perChannel": False}),
        )
    ),
    *(
        (
            int8(runtime="OpenVINO", floatPrecision="BF16"),
            int8(runtime=runtime, floatPrecision="BF16"),
            "quantization floatPrecision BF16 needs runtime OpenVINO",
        )
        for runtime in ("ONNXRuntime", "PyTorch")
    ),
    (
        int8(runtime="PyTorch", calibrator="MinMax", perChannel=False),
        int8(runtime="PyTorch", calibrator="Entropy"),
        "runtime PyTorch chooses ranges itself: leave calibrator out",
    ),
    *(
        (int8(searchBudgetSeconds=60, **good), int8(searchBudgetSeconds=60, **bad), BUDGET)
        for good, bad in (
            ({"mode": "Static"}, {"mode": "Dynamic"}),
            ({"fallback": "Auto"}, {"fallback": "Off"}),
        )
    ),
    (
        int8(runtime="PyTorch"),
        int8(runtime="PyTorch", searchBudgetSeconds=60),
        "runtime PyTorch keeps no layers in FP32 for gates: leave searchBudgetSeconds out",
    ),
    *(
        (int8(searchBudgetSeconds=good), int8(searchBudgetSeconds=bad), BUDGET_FIELD)
        for good, bad in ((1, 0), (14400, 14401))
    ),
    (
        variant(runtime="PyTorch", torchMode="Eager"),
        variant(runtime="OpenVINO", torchMode="Eager"),
        "torchMode belongs to runtime PyTorch",
    ),
    (
        variant(runtime="PyTorch", precision="INT8", torchMode="Compiled"),
        variant(runtime="PyTorch", precision="INT8", torchMode="Eager"),
        "PyTorch runs INT8 only Compiled: leave torchMode out",
    ),
    (variant(name="base"), variant(name="baseline"), "the name baseline is reserved for"),
    (
        {"inputs": [{"name": "x", "shape": ["batch", 3, 64, 64]}]},
        {"inputs": [{"name": "x", "shape": ["n", 3, 64, 64]}]},
        "every name in an input's shape must be declared under dimensions",
    ),
    (
        {"derivedDimensions": {"total": {"sumOf": ["batch", "height"], "plus": 1}}},
        {"derivedDimensions": {"total": {"sumOf": ["batch", "past"]}}},
        "every name in sumOf must be declared under dimensions",
    ),
    (
        {"derivedDimensions": {"total": {"sumOf": ["batch"]}}},
        {"derivedDimensions": {"batch": {"sumOf": ["height"]}}},
        "a name is declared under dimensions or under derivedDimensions, not under both",
    ),
    (
        {"derivedDimensions": {"total": {"sumOf": ["batch"]}}},
        {"derivedDimensions": {"total": {"sumOf": ["batch"], "plus": 65536}}},
        "a derived dimension must be at most 65536 with its terms at max",
    ),
    (
        {
            "derivedDimensions": {"total": {"sumOf": ["batch"], "plus": 1}},
            "inputs": [{"name": "x", "shape": ["batch", "total", 64]}],
        },
        {
            "derivedDimensions": {"total": {"sumOf": ["batch"], "plus": 1023}},
            "inputs": [{"name": "x", "shape": ["batch", "total", 2**20, 2**4]}],
        },
        VALUES_AT_OPT,
    ),
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

CONTROL = "\x00\x07\t\n\r\x1b \x7f\x85\x9b\xa0\xad\u200b\u2028\u202e\u2066\u3000\ufeff?#"

# Schema constraints, not CEL.
CONSTRAINTS: list[tuple[Json, Json, str]] = [
    ({"model": MODEL}, {"model": MODEL | {"uri": "http://host/x"}}, "spec.model.uri"),
    *(
        (
            {"model": MODEL | {"uri": "s3://models/ä-モデル.onnx"}},
            {"model": MODEL | {"uri": f"s3://models/a{character}b"}},
            "spec.model.uri",
        )
        for character in CONTROL
    ),
    ({"model": MODEL}, {"model": MODEL | {"sha256": "A" * 64}}, "spec.model.sha256"),
    ({"model": MODEL}, {"model": MODEL | {"sha256": "a" * 63}}, "spec.model.sha256"),
    ({"model": MODEL}, {"model": MODEL | {"format": "Keras"}}, "spec.model.format"),
    (
        {"model": MODEL | {"format": "TorchScript"}},
        {"model": MODEL | {"format": "Torchscript"}},
        "spec.model.format",
    ),
    (
        int8(exclude=["x" * 256] * 12),
        int8(exclude=["x"] * 13),
        "spec.variants[0].quantization.exclude",
    ),
    (
        int8(mode="WeightOnly", weightBits=8),
        int8(mode="WeightOnly", weightBits=7),
        "spec.variants[0].quantization.weightBits",
    ),
    (int8(exclude=["x"]), int8(exclude=[""]), "spec.variants[0].quantization.exclude[0]"),
    (
        int8(runtime="OpenVINO", method="QDQ"),
        int8(runtime="OpenVINO", method="PTQ"),
        "spec.variants[0].quantization.method",
    ),
    (
        variant(runtime="PyTorch", torchMode="Compiled"),
        variant(runtime="PyTorch", torchMode="Jit"),
        "spec.variants[0].torchMode",
    ),
    (int8(fallback="Auto"), int8(fallback="On"), "spec.variants[0].quantization.fallback"),
    (
        {"model": MODEL | {"credentialsSecretRef": {"name": "store"}}},
        {"model": MODEL | {"credentialsSecretRef": {"name": "Store"}}},
        "spec.model.credentialsSecretRef.name",
    ),
    (
        {"model": MODEL | {"uri": WEB}},
        {"model": MODEL | {"uri": f"{WEB}?signature=1"}},
        "spec.model.uri",
    ),
    ({}, {"output": {"uri": WEB}}, "spec.output.uri"),
    (
        {"model": MODEL | {"credentials": "Anonymous"}},
        {"model": MODEL | {"credentials": "None"}},
        "spec.model.credentials",
    ),
    ({"model": MODEL}, {"model": MODEL | {"uri": "pvc://-/a"}}, "spec.model.uri"),
    *(
        (
            {"model": MODEL | {"uri": f"oci://{good}"}},
            {"model": MODEL | {"uri": f"oci://{bad}"}},
            "spec.model.uri",
        )
        for good, bad in (
            ("registry.test/a/b:v1", "registry.test/a/b"),
            (f"registry.test:5000/a@sha256:{'0' * 64}", "registry.test:5000/a@sha256:0"),
            ("localhost/a:v1#a/b.onnx", "localhost/a:v1?a"),
            ("docker.io/a/b:v1", f"docker.io/a/b:v1@sha256:{'0' * 64}"),
            ("docker.io/a/b:v1", "a/b:v1"),
        )
    ),
    ({}, {"output": {"uri": "oci://registry.test/a:v1"}}, "spec.output.uri"),
    ({}, {"inputs": []}, "spec.inputs"),
    (
        {"inputs": [{"name": "x", "shape": [1]}]},
        {"inputs": [{"name": "x", "shape": [1] * 9}]},
        "spec.inputs[0].shape",
    ),
    (inputs([2**30]), inputs([2**31]), "spec.inputs[0].shape[0]"),
    (inputs([1]), inputs([0]), "spec.inputs[0].shape[0]"),
    (inputs([1]), inputs([-(2**40)]), "spec.inputs[0].shape[0]"),
    (dimension(max=65536), dimension(max=65537), "spec.dimensions.height.max"),
    (
        {"variants": None},
        {"variants": []},
        "spec.variants",
    ),
    (
        {"targets": [{"name": f"t{n}"} for n in range(8)]},
        {"targets": [{"name": f"t{n}"} for n in range(9)]},
        "spec.targets",
    ),
    (
        {"targets": [{"name": "a"}, {"name": "b"}]},
        {"targets": [{"name": "a"}, {"name": "a"}]},
        "Duplicate value",
    ),
    ({"targets": [{"name": "a-b"}]}, {"targets": [{"name": "a_b"}]}, "spec.targets[0].name"),
    (
        {"targets": [{"name": "a", "resources": {"limits": {"cpu": "500m", "memory": "2Gi"}}}]},
        {"targets": [{"name": "a", "resources": {"limits": {"cpu": "much"}}}]},
        "spec.targets[0].resources.limits.cpu",
    ),
    (
        {"quality": [{"metric": "SSIM", "minimum": 0.9}]},
        {"quality": [{"metric": "MSE", "minimum": 0.9}]},
        "spec.quality[0].metric",
    ),
    (
        {"quality": [{"metric": "PSNR", "minimum": 200}]},
        {"quality": [{"metric": "PSNR", "minimum": 201}]},
        "spec.quality[0].minimum",
    ),
    (gate("MaxAbsError", maximum=0), gate("MaxAbsError", maximum=-1), "spec.quality[0].maximum"),
    (references("s3://truth/a"), references("file:///a"), "spec.data.evaluation.references.uri"),
    (images(layout="NHWC"), images(layout="CHW"), "spec.data.evaluation.images.layout"),
    (images(color="BGR"), images(color="CMYK"), "spec.data.evaluation.images.color"),
    (images(crop=[1, 1]), images(crop=[1]), "spec.data.evaluation.images.crop"),
    (
        {"inputs": [{"name": "x", "dtype": "int64", "shape": [1]}]},
        {"inputs": [{"name": "x", "dtype": "complex64", "shape": [1]}]},
        "spec.inputs[0].dtype",
    ),
    (
        {"objective": {"minimumSpeedup": 1}},
        {"objective": {"minimumSpeedup": 0.9}},
        "spec.objective.minimumSpeedup",
    ),
    *(
        (
            constraints(bounded("PeakMemory", good)),
            constraints(bounded("PeakMemory", bad)),
            "spec.objective.constraints[0].maximum",
        )
        for good, bad in (
            ("1.5Gi", "much"),
            (0, -1),
            (2**31, 0.35),
            ("1e3", "-1"),
            ("0.35", "1K"),
            ("1" * 32, "1" * 33),
        )
    ),
    (constraints(P99), constraints(P99, bounded("LatencyP99", "1s")), "Duplicate value"),
    (
        constraints(P99, MEMORY),
        constraints(bounded("Accuracy", "1")),
        "spec.objective.constraints[0].metric",
    ),
    *(
        (
            {"benchmark": {"load": {"scenario": "Offline", field: good}}},
            {"benchmark": {"load": {"scenario": "Offline", field: bad}}},
            f"spec.benchmark.load.{field}",
        )
        for field, good, bad in (
            ("durationSeconds", 1, 0.5),
            ("budgetSeconds", 21600, 21601),
            ("maximumBatch", 1024, 0),
        )
    ),
    (
        {"benchmark": {"load": {"scenario": "Offline"}}},
        {"benchmark": {"load": {"scenario": "MultiStream"}}},
        "spec.benchmark.load.scenario",
    ),
    (
        {"execution": {"backoffLimit": 6}},
        {"execution": {"backoffLimit": 7}},
        "spec.execution.backoffLimit",
    ),
    (
        {"execution": {"activeDeadlineSeconds": 10}},
        {"execution": {"activeDeadlineSeconds": 9}},
        "spec.execution.activeDeadlineSeconds",
    ),
    (
        {"execution": {"progressDeadlineSeconds": 10}},
        {"execution": {"progressDeadlineSeconds": 9}},
        "spec.execution.progressDeadlineSeconds",
    ),
    ({"output": {"uri": "s3://bucket"}}, {"output": {"uri": "s3://b"}}, "spec.output.uri"),
    (oci(repository="localhost:5000/sr"), oci(repository="sr"), "spec.publish.oci.repository"),
    (oci(repository="host.example/a/b"), oci(repository="host.example/a:v1"), "repository"),
    (oci(tags=["v1.0"]), oci(tags=["-v1"]), "spec.publish.oci.tags"),
]


@pytest.fixture
def attempt(api: Api, resource_manifest: MakeManifest) -> Try:
    """Return a function that has the API server judge a resource, without keeping it."""

    def run(spec: Json, *, name: str = "sr") -> None:
        manifest = resource_manifest(name)
        manifest["metadata"]["namespace"] = "default"
        merged = manifest["spec"] | spec
        manifest["spec"] = {key: value for key, value in merged.items() if value is not None}
        api.call("POST", api.path(manifest, collection=True) + "?dryRun=All", manifest)

    return run


def ids(table: list[tuple[Json, Json, str]]) -> list[str]:
    return [f"{n}-{words[:30]}" for n, (_, _, words) in enumerate(table)]


@pytest.mark.parametrize(
    ("good", "bad", "words"), [*RULES, *CONSTRAINTS], ids=ids([*RULES, *CONSTRAINTS])
)
def test_rule_accepts_and_rejects(attempt: Try, good: Json, bad: Json, words: str) -> None:
    attempt(good)
    with pytest.raises(Exception, match="422") as refusal:
        attempt(bad)
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("good", "bad", "words"), [*RULES, *CONSTRAINTS], ids=ids([*RULES, *CONSTRAINTS])
)
def test_operator_judges_as_the_api_server(
    resource_manifest: MakeManifest, good: Json, bad: Json, words: str
) -> None:
    plain = resource_manifest()["spec"]
    ModelOptimizationSpec.model_validate(plain | good)
    with pytest.raises(ValidationError):
        ModelOptimizationSpec.model_validate(plain | bad)


def test_every_rule_has_its_case() -> None:
    def messages(schema: Json) -> set[str]:
        own = {rule["message"] for rule in schema.get("x-kubernetes-validations", ())}
        parts = [*schema.get("properties", {}).values()]
        parts += [schema[key] for key in ("items", "additionalProperties") if key in schema]
        return own.union(*(messages(part) for part in parts))

    version = custom_resource_definition()["spec"]["versions"][0]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    tried = [words for _, _, words in RULES]
    assert {m for m in messages(spec) if not any(m.startswith(w) for w in tried)} == set()


def test_longest_name_is_accepted_and_a_longer_one_rejected(attempt: Try) -> None:
    attempt({}, name="a" * 63)
    with pytest.raises(Exception, match=r"metadata\.name must have at most 63 characters"):
        attempt({}, name="a" * 64)


def test_unknown_field_is_refused_where_the_client_asks_for_it(
    api: Api, resource_manifest: MakeManifest
) -> None:
    manifest = resource_manifest(surprise=1)
    manifest["metadata"]["namespace"] = "default"
    query = "?dryRun=All&fieldValidation=Strict"
    with pytest.raises(Exception, match=r'unknown field "spec\.surprise"'):
        api.call("POST", api.path(manifest, collection=True) + query, manifest)


def test_calibration_data_takes_no_references(api: Api, resource_manifest: MakeManifest) -> None:
    calibration = references("s3://truth/a")["data"]["evaluation"]
    manifest = resource_manifest(data={"calibration": calibration}, quality=[])
    manifest["metadata"]["namespace"] = "default"
    query = "?dryRun=All&fieldValidation=Strict"
    with pytest.raises(Exception, match=r'unknown field "spec\.data\.calibration\.references"'):
        api.call("POST", api.path(manifest, collection=True) + query, manifest)


def test_new_resource_says_that_nobody_looked_at_it_yet(
    api: Api, resource_manifest: MakeManifest
) -> None:
    manifest = resource_manifest()
    manifest["metadata"]["namespace"] = "default"
    created = api.call("POST", api.path(manifest, collection=True) + "?dryRun=All", manifest)
    assert created["status"]["observedGeneration"] == -1
    assert created["status"]["conditions"] == []
