"""Cases of the CRD's schema, which are no rules in CEL: patterns, bounds, enumerations."""

from __future__ import annotations

from spec_fields import (
    MEMORY,
    MODEL,
    P99,
    WEB,
    Case,
    bounded,
    constraints,
    dimension,
    gate,
    images,
    inputs,
    int8,
    oci,
    references,
    variant,
)

CONTROL = "\x00\x07\t\n\r\x1b \x7f\x85\x9b\xa0\xad\u200b\u2028\u202e\u2066\u3000\ufeff?#"
CONSTRAINTS: list[Case] = [
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
