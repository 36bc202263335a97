"""What the statements and the bill of materials say, and that others' parsers take them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from google.protobuf import json_format
from in_toto_attestation.predicates.test_result.v0.test_result_pb2 import (
    TestResult as ResultMessage,
)
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as StatementMessage
from proved_image import EVALUATION, facts, files, measured

from mopt_optimizer.digests import bytes_digest, json_bytes
from mopt_optimizer.errors import DataError
from mopt_optimizer.proofs.attach import referrers
from mopt_optimizer.proofs.bom import bom
from mopt_optimizer.proofs.facts import Facts
from mopt_optimizer.proofs.predicates import (
    gates_statement,
    not_measured,
    quality_statement,
    signature_statement,
)


def changed_plan(**changed: Any) -> dict[str, Any]:
    plan = measured().plan
    assert plan is not None
    return {"plan": plan | changed}


def of_baseline() -> Facts:
    return facts(variant="baseline")


def of_ground_truth() -> Facts:
    known = measured(reference="GroundTruth", referencesDigest=f"sha256:{'2' * 64}")
    return facts(result=known)


def of_no_data() -> Facts:
    known = measured(evaluationDigest=None, calibrationDigest=None, **changed_plan(quality=[]))
    return facts(result=known)


def of_no_plan() -> Facts:
    return facts(result=measured(plan=None))


CASES = [
    pytest.param(facts, id="the winner"),
    pytest.param(of_baseline, id="the source model itself"),
    pytest.param(of_ground_truth, id="compared with ground truth"),
    pytest.param(of_no_data, id="without data and gates"),
    pytest.param(of_no_plan, id="without a plan"),
]


@pytest.mark.parametrize("known", CASES)
def test_in_totos_parser_takes_the_statements(known: Any) -> None:
    for said in (
        gates_statement(known()),
        quality_statement(known(), {"bom": f"sha256:{'3' * 64}"}),
    ):
        message = json_format.Parse(json_bytes(said), StatementMessage())
        Statement.copy_from_pb(message).validate()
        assert message.subject[0].digest["sha256"] == "1" * 64
    result = json_format.ParseDict(gates_statement(known())["predicate"], ResultMessage())
    assert result.result in ("PASSED", "WARNED")


@pytest.mark.parametrize("known", CASES)
def test_the_bill_of_materials_is_valid(known: Any) -> None:
    content = bom(known())
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(content.decode()) is None
    assert bom(known()) == content


def test_the_validator_refuses_what_is_none() -> None:
    content = json.loads(bom(facts()))
    content["metadata"]["component"]["type"] = "model"
    text = json.dumps(content)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is not None


def test_the_bill_of_materials_names_model_source_data_and_figures() -> None:
    found = json.loads(bom(facts()))
    model = found["metadata"]["component"]
    known = facts()
    assert model["hashes"][0]["content"] == known.form.artifact[7:]
    assert model["pedigree"]["ancestors"][0]["hashes"][0]["content"] == known.result.source.sha256
    assert {d["ref"] for d in model["modelCard"]["modelParameters"]["datasets"]} == {
        "data-calibration",
        "data-evaluation",
    }
    metrics = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert {"type": "PSNR", "value": "58.55262474587551", "slice": "worst sample"} in metrics
    assert found["metadata"]["timestamp"] == known.result.measured_at


def test_the_quality_statement_says_what_was_measured() -> None:
    known = facts()
    said = quality_statement(known, {})["predicate"]
    assert said["data"]["evaluation"]["digest"] == EVALUATION
    assert said["source"]["digest"] == f"sha256:{known.result.source.sha256}"
    assert said["form"]["digest"] == known.form.artifact
    assert said["resource"] == {
        "namespace": "team",
        "name": "small",
        "uid": "0b1c",
        "generation": 3,
    }
    assert said["optimizer"]["build"] == known.result.software["mopt"]
    first = said["quality"]["gates"][0]
    assert (first["metric"], first["minimum"], first["verdict"]) == ("PSNR", 35.0, "PASSED")
    assert first["value"] == pytest.approx(58.5526, abs=1e-4)
    assert said["speed"]["speedup"] == known.variant.speedup
    assert "interval" not in said["speed"]
    assert "node" not in said["hardware"]


def test_the_gates_are_tests_by_their_titles() -> None:
    said = gates_statement(facts())["predicate"]
    assert said["result"] == "PASSED"
    assert said["passedTests"] == [
        "worst PSNR >= 35",
        "mean SSIM >= 0.97",
        "worst MaxAbsError <= 0.1",
    ]


def test_a_gate_that_is_missed_fails() -> None:
    gates = [{"metric": "PSNR", "minimum": 80.0}]
    said = gates_statement(facts(result=measured(**changed_plan(quality=gates))))["predicate"]
    assert (said["result"], said["failedTests"]) == ("FAILED", ["worst PSNR >= 80"])


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        pytest.param(facts, "an interval of the speedup", id="one measurement has no interval"),
        pytest.param(of_baseline, "quality: it is the model", id="the source model itself"),
        pytest.param(of_no_data, "gates: none was set", id="no gates"),
        pytest.param(of_no_data, "calibration data: none", id="no calibration data"),
        pytest.param(of_no_plan, "gates: result.json does not", id="an old result"),
    ],
)
def test_what_was_not_measured_is_said(known: Any, expected: str) -> None:
    assert any(said.startswith(expected) for said in not_measured(known()))


def test_ground_truth_is_not_among_what_was_not_measured() -> None:
    assert not any("ground truth" in said for said in not_measured(of_ground_truth()))


def test_an_unknown_form_is_refused() -> None:
    known = facts()
    other = known.form.model_copy(update={"variant": "other"})
    with pytest.raises(DataError, match="no variant other"):
        gates_statement(facts(form=other))


def test_a_plan_that_cannot_be_read_is_refused_with_its_field() -> None:
    broken = facts(result=measured(**changed_plan(quality=[{"metric": "PSNR"}])))
    with pytest.raises(DataError, match=r"plan\.quality"):
        gates_statement(broken)


def test_all_but_signatures_is_the_same_when_made_again(tmp_path: Path) -> None:
    folder = files(tmp_path)
    first, again = (referrers(facts(), folder, key=None) for _ in range(2))
    assert first == again
    assert [each.name for each in first] == [
        "bom.cdx.json",
        "report.html",
        "test-result.json",
        "quality.json",
    ]
    said = json.loads(first[-1].content)["predicate"]["attached"]
    assert said == {"bom": bytes_digest(first[0].content), "report": bytes_digest(first[1].content)}


def test_the_signature_says_no_more_than_cosigns() -> None:
    said = signature_statement(f"sha256:{'4' * 64}")
    assert said["predicate"] == {}
    assert said["subject"] == [{"digest": {"sha256": "4" * 64}}]
