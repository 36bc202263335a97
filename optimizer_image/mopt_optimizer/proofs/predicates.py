"""What the statements on an image say. Pure."""

from __future__ import annotations

from typing import Any

from mopt_api.enums import Aggregate
from mopt_api.figures import QualityReference, QualityResult
from mopt_api.jobs.gates import gate_name, judged_value
from mopt_api.jobs.measure_result import BASELINE, PointResult
from mopt_api.spec import QualityGate

from .facts import Facts, hexadecimal
from .referrer import QUALITY_PREDICATE, SIGNATURE_PREDICATE, TEST_RESULT_PREDICATE

STATEMENT = "https://in-toto.io/Statement/v1"
PASSED, WARNED, FAILED = "PASSED", "WARNED", "FAILED"

_PLAN_LEFT_OUT = {"outputUri", "prepared", "search", "stage"}
_HARDWARE_LEFT_OUT = {"node"}
"""The node's name says where, not on what: it is nobody's business outside the cluster."""


def statement(subject: str, predicate_type: str, predicate: dict[str, Any]) -> dict[str, Any]:
    """Return an in-toto statement (v1) on an image, by its manifest's digest."""
    return {
        "_type": STATEMENT,
        "subject": [{"digest": {"sha256": hexadecimal(subject)}}],
        "predicateType": predicate_type,
        "predicate": predicate,
    }


def signature_statement(subject: str) -> dict[str, Any]:
    """Return the statement that cosign 3 signs for an image: it says no more than that."""
    return statement(subject, SIGNATURE_PREDICATE, {})


def quality_statement(facts: Facts, attached: dict[str, str]) -> dict[str, Any]:
    """Return our own statement: what was measured, on what, against which gates.

    Args:
        attached: Digests of the contents of other referrers, by what they are: so the signature
            on the statement holds for them too.

    Raises:
        DataError: result.json is not that of the form, or cannot be read.
    """
    return statement(facts.subject, QUALITY_PREDICATE, quality_predicate(facts, attached))


def gates_statement(facts: Facts) -> dict[str, Any]:
    """Return the vetted statement for policies that know no other: which gates held.

    Raises:
        DataError: result.json is not that of the form, or cannot be read.
    """
    return statement(facts.subject, TEST_RESULT_PREDICATE, gates_predicate(facts))


def quality_predicate(facts: Facts, attached: dict[str, str]) -> dict[str, Any]:
    """Return the predicate of https://mopt.dev/quality/v1; docs/proofs.md has its fields."""
    result, variant = facts.result, facts.variant
    software = dict(result.software)
    build = software.pop("mopt", None)
    predicate = {
        "target": {"name": facts.form.target, "kind": facts.form.kind},
        "form": _form(facts),
        "source": result.source.to_api()
        | {"sha256": None, "digest": f"sha256:{result.source.sha256}"},
        "data": _data(facts),
        "quality": {
            "reference": result.reference,
            "gates": [_gate(gate, facts) for gate in facts.gates or ()],
            "figures": [_figure(found) for found in variant.quality],
            "aimedBy": variant.aimed_by,
        },
        "speed": _speed(facts),
        "hardware": _without(result.hardware.to_api(), _HARDWARE_LEFT_OUT),
        "software": software,
        "optimizer": {"build": build},
        "resource": facts.resource.to_api(),
        "result": {"digest": facts.form.result, "measuredAt": result.measured_at},
        "attached": attached,
        "measurement": _measurement(facts),
        "notMeasured": not_measured(facts),
    }
    return _filled(predicate)


def _figure(found: QualityResult) -> dict[str, Any]:
    """Return a figure without the samples' values, and with what they say of new samples."""
    stated = found.model_copy(update={"tolerance": found.value(Aggregate.TOLERANCE)})
    return _without(stated.to_api(), {"perSample"})


def gates_predicate(facts: Facts) -> dict[str, Any]:
    """Return the predicate of https://in-toto.io/attestation/test-result/v0.1."""
    names: dict[str, list[str]] = {PASSED: [], WARNED: [], FAILED: []}
    for gate in facts.gates or ():
        names[_verdict(gate, facts)].append(gate_title(gate))
    outcome = next((state for state in (FAILED, WARNED) if names[state]), PASSED)
    configuration = [{"name": "result.json", "digest": {"sha256": hexadecimal(facts.form.result)}}]
    for name, data in _data(facts).items():
        annotations = {key: data[key] for key in ("digest", "samples") if data.get(key) is not None}
        descriptor = {"name": name, "uri": data.get("uri"), "annotations": annotations}
        configuration.append(_filled(descriptor))
    return {
        "result": outcome,
        "configuration": configuration,
        "passedTests": names[PASSED],
        "warnedTests": names[WARNED],
        "failedTests": names[FAILED],
    }


def gate_title(gate: QualityGate) -> str:
    """Return a gate as people write it: worst PSNR >= 35."""
    least = gate.maximum is None
    limit = gate.minimum if least else gate.maximum
    return f"{gate.aggregate.lower()} {gate_name(gate)} {'>=' if least else '<='} {limit:.10g}"


def not_measured(facts: Facts) -> list[str]:
    """Return what a reader might take for measured, and is not."""
    result, variant = facts.result, facts.variant
    said: list[str] = []
    if not variant.quality:
        why = "it is the model that quality is compared with" if _is_reference(facts) else "no data"
        said.append(f"quality: {why}")
    if facts.gates is None:
        said.append("gates: result.json does not name them")
    elif not facts.gates:
        said.append("gates: none was set")
    if result.calibration_digest is None:
        said.append("calibration data: none was given")
    if result.references_digest is None:
        said.append(
            "agreement with ground truth: quality is compared with the source model's output"
        )
    if variant.speedup is None:
        said.append("speed: the form was built and not run")
    else:
        if variant.speedup_interval is None:
            said.append("an interval of the speedup: the ratio is of one measurement")
        said.append("speed on other hardware than hardware names")
        if any(point.unstable for point in variant.points):
            said.append("speed without disturbance: other work ran meanwhile")
    if variant.aimed_by is not None:
        said.append("quality on unseen data: the FP32 layers were chosen by what this data showed")
    return said


def _is_reference(facts: Facts) -> bool:
    ground_truth = facts.result.reference is QualityReference.GROUND_TRUTH
    return facts.variant.name == BASELINE and not ground_truth


def _verdict(gate: QualityGate, facts: Facts) -> str:
    """Return how a gate ended; WARNED where the form is what the gate compares with."""
    value = judged_value(gate, facts.variant.quality)
    if value is None:
        return WARNED if _is_reference(facts) else FAILED
    return PASSED if gate.passes(value) else FAILED


def _form(facts: Facts) -> dict[str, Any]:
    variant = facts.variant
    artifact = {} if variant.artifact is None else variant.artifact.to_api()
    return {
        "name": variant.name,
        "runtime": variant.runtime,
        "precision": variant.precision,
        **({"floatPrecision": variant.float_precision} if variant.float_precision else {}),
        "torchMode": variant.torch_mode,
        **_without(artifact, {"uri"}),
        "digest": facts.form.artifact,
    }


def _measurement(facts: Facts) -> dict[str, Any] | None:
    """Return the plan of the measurement as far as another one of this form needs it."""
    if facts.result.plan is None:
        return None
    plan = _without(facts.result.plan, _PLAN_LEFT_OUT)
    variants = plan.get("variants")
    rows = variants if isinstance(variants, list) else []
    of_form = [v for v in rows if isinstance(v, dict) and v.get("name") == facts.variant.name]
    return plan | {"variants": of_form}


def _gate(gate: QualityGate, facts: Facts) -> dict[str, Any]:
    value = judged_value(gate, facts.variant.quality)
    measured = {} if value is None else {"value": value}
    return gate.to_api() | measured | {"verdict": _verdict(gate, facts)}


def _data(facts: Facts) -> dict[str, dict[str, Any]]:
    """Return each kind of data that is known by its digest."""
    result = facts.result
    found: dict[str, dict[str, Any]] = {
        "calibration": {"digest": result.calibration_digest},
        "evaluation": {
            "digest": result.evaluation_digest,
            "uri": facts.uri("evaluation"),
            "samples": result.evaluation_samples,
        },
        "references": {"digest": result.references_digest, "uri": facts.uri("references")},
    }
    return {name: _filled(data) for name, data in found.items() if data["digest"] is not None}


def _speed(facts: Facts) -> dict[str, Any] | None:
    result, variant, objective = facts.result, facts.variant, facts.objective
    if variant.speedup is None:
        return None
    baseline = result.baseline
    return {
        "speedup": variant.speedup,
        "speedupInterval": variant.speedup_interval,
        "speedupOverFastestFP32": variant.speedup_over_fastest_fp32,
        "metric": objective and objective.metric,
        "minimumSpeedup": objective and objective.minimum_speedup,
        "point": _point(variant.at(result.objective_point)),
        "baselinePoint": _point(baseline.at(result.objective_point) if baseline else None),
        "unstable": any(point.unstable for point in variant.points),
    }


def _point(point: PointResult | None) -> dict[str, Any] | None:
    return None if point is None else _without(point.to_api(), {"quantilesMs", "compared"})


def _without(value: dict[str, Any], keys: set[str]) -> dict[str, Any]:
    return {key: item for key, item in value.items() if key not in keys}


def _filled(value: dict[str, Any]) -> dict[str, Any]:
    """Return a mapping without what is None, at any depth."""
    return {
        key: _filled(item) if isinstance(item, dict) else item
        for key, item in value.items()
        if item is not None
    }
