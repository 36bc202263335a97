"""Plans of a local run: the operator's, with uris that this machine reaches."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from mopt_api.jobs.plan import measure_plan, prepare_plan
from mopt_api.spec import ModelOptimizationSpec
from mopt_cli._errors import CliError
from mopt_cli.local_plan import LocalWork, Overrides, local_work
from mopt_optimizer.machine.system import own_cpu_class

PREPARED = f"sha256:{'1' * 64}"
SHA = "0" * 64


def document(**spec: Any) -> dict[str, Any]:
    base = {
        "model": {"uri": "s3://models/m.onnx", "sha256": SHA, "format": "ONNX"},
        "inputs": [{"name": "x", "shape": [1, 3]}],
        "output": {"uri": "s3://optimized/m"},
    }
    return {"spec": base | spec}


def work(found: dict[str, Any], folder: Path, **overrides: Any) -> LocalWork:
    return local_work(found, folder / "resource.yaml", Overrides(**overrides))


def test_plans_of_a_resource_in_a_store_are_the_operators(tmp_path: Path) -> None:
    found = document(
        data={
            "calibration": {"uri": "s3://data/c/"},
            "evaluation": {"uri": "s3://data/e/", "samples": 3},
        },
        quality=[{"metric": "Cosine", "minimum": 0.9}],
    )
    local = work(found, tmp_path)
    spec = ModelOptimizationSpec.model_validate(found["spec"])
    here = [own_cpu_class()]
    assert local.prepare() == prepare_plan(spec, "s3://optimized/m", cpu_classes=here)
    assert local.measure(PREPARED) == measure_plan(
        spec, target="default", prepared=PREPARED, output_uri="s3://optimized/m"
    )
    assert local.notes == ()


def test_relative_paths_start_at_the_resources_folder(tmp_path: Path) -> None:
    (tmp_path / "my model.onnx").write_bytes(b"x")
    (tmp_path / "images").mkdir()
    found = document(
        model={"uri": "my model.onnx", "sha256": SHA, "format": "ONNX"},
        data={"calibration": {"uri": "images", "samples": 5}},
        output={"uri": "out"},
    )
    local = work(found, tmp_path)
    plan = local.prepare()
    assert plan.model.uri == (tmp_path / "my model.onnx").as_uri()
    assert plan.calibration is not None
    assert (plan.calibration.uri, plan.calibration.samples) == ((tmp_path / "images").as_uri(), 5)
    assert plan.output_uri == local.measure(PREPARED).output_uri == (tmp_path / "out").as_uri()
    assert local.measure(PREPARED).model == plan.model


def test_preparing_without_calibration_data_reads_the_evaluation_folder(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    found = document(data={"evaluation": {"uri": "images"}}, output={"uri": "out"})
    local = work(found, tmp_path)
    assert local.prepare().data == local.measure(PREPARED).evaluation
    assert (data := local.prepare().data) is not None
    assert data.uri == (tmp_path / "images").as_uri()


def test_file_uris_are_taken_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"x")
    uri = (tmp_path / "m.onnx").as_uri()
    found = document(model={"uri": uri, "sha256": SHA, "format": "ONNX"})
    assert work(found, tmp_path).prepare().model.uri == uri


def test_model_option_gives_uri_digest_and_format(tmp_path: Path) -> None:
    model = tmp_path / "m.pt2"
    model.write_bytes(b"weights")
    found = document()
    del found["spec"]["model"]
    plan = work(found, tmp_path, model=model).prepare()
    assert plan.model.uri == model.as_uri()
    assert plan.model.sha256 == hashlib.sha256(b"weights").hexdigest()
    assert plan.model.format == "ExportedProgram"


def test_another_digest_than_the_specs_is_told(tmp_path: Path) -> None:
    model = tmp_path / "m.onnx"
    model.write_bytes(b"weights")
    (note,) = work(document(), tmp_path, model=model).notes
    assert SHA in note
    assert hashlib.sha256(b"weights").hexdigest() in note


def test_data_options_stand_in_for_fields_that_are_not_there(tmp_path: Path) -> None:
    gates = [{"metric": "Cosine", "minimum": 0.9}]
    local = work(document(quality=gates), tmp_path, calibration=tmp_path, evaluation=tmp_path)
    calibration, evaluation = local.prepare().calibration, local.measure(PREPARED).evaluation
    assert calibration is not None
    assert evaluation is not None
    assert calibration.uri == evaluation.uri == tmp_path.as_uri()


def test_ground_truth_may_lie_here_too(tmp_path: Path) -> None:
    (tmp_path / "truth").mkdir()
    found = document(data={"evaluation": {"uri": "s3://data/e/", "references": {"uri": "truth"}}})
    references = work(found, tmp_path).measure(PREPARED).references
    assert references is not None
    assert references.uri == (tmp_path / "truth").as_uri()
    del found["spec"]["data"]["evaluation"]["references"]
    (tmp_path / "other").mkdir()
    references = work(found, tmp_path, references=tmp_path / "other").measure(PREPARED).references
    assert references is not None
    assert references.uri == (tmp_path / "other").as_uri()


def test_an_archive_may_lie_here_too(tmp_path: Path) -> None:
    (tmp_path / "my data.v1.tar.gz").write_bytes(b"")
    evaluation = {"uri": "my data.v1.tar.gz#val", "sha256": SHA}
    found = document(data={"evaluation": evaluation})
    planned = work(found, tmp_path).measure(PREPARED).evaluation
    assert planned is not None
    assert planned.sha256 == SHA
    assert planned.uri == f"{(tmp_path / 'my data.v1.tar.gz').as_uri()}#val"
    planned = work(found, tmp_path, evaluation=tmp_path).measure(PREPARED).evaluation
    assert planned is not None
    assert (planned.uri, planned.sha256) == (tmp_path.as_uri(), None)
    del evaluation["sha256"]
    with pytest.raises(CliError, match=r"spec\.data\.evaluation\.uri: .* is not a folder"):
        work(found, tmp_path)


def test_an_archive_on_the_web_is_read_as_a_job_does(tmp_path: Path) -> None:
    web = {"uri": "https://data.example.com/a.zip#val", "sha256": SHA}
    local = work(document(data={"calibration": web}), tmp_path)
    assert local.prepare().calibration is not None
    assert local.uris["calibration"] == web["uri"]


def test_output_without_a_field_is_a_folder_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = document()
    del found["spec"]["output"]
    assert work(found, tmp_path).output_uri == (tmp_path / "mopt-output").as_uri()
    assert work(found, tmp_path, output="s3://bucket/x").output_uri == "s3://bucket/x"


def test_what_only_a_cluster_knows_is_told(tmp_path: Path) -> None:
    targets = [{"name": "small"}, {"name": "large", "profile": "gpu", "nodeSelector": {"a": "b"}}]
    local = work(document(targets=targets), tmp_path, target="large")
    assert local.measure(PREPARED).target == "large"
    assert local.notes == (
        "of 2 targets, large is run; see --target",
        "target large is this machine: profile, nodeSelector ignored",
    )


@pytest.mark.parametrize(
    ("spec", "overrides", "message"),
    [
        ({}, {"target": "gpu"}, "--target gpu: spec.targets has default"),
        ({}, {"model": Path("nowhere.onnx")}, "--model nowhere.onnx is not a file"),
        (
            {},
            {"calibration": Path("/nowhere")},
            "spec.data.calibration.uri: /nowhere is not a folder",
        ),
        ({"output": {"uri": "https://x/y"}}, {}, "spec.output.uri: https://x/y is neither s3://"),
        (
            {"data": {"evaluation": {"uri": "oci://x.test/y:v1"}}},
            {},
            "spec.data.evaluation.uri: oci://x.test/y:v1 is neither s3://BUCKET/KEY nor https://",
        ),
        ({"model": {"uri": "no.onnx", "format": "ONNX"}}, {}, "no.onnx is not a file"),
        ({"inputs": []}, {}, "spec.inputs: List should have at least 1 item"),
        ({"model": 3}, {}, "spec.model: "),
    ],
)
def test_what_cannot_be_run_is_told_with_its_field(
    tmp_path: Path, spec: dict[str, Any], overrides: dict[str, Any], message: str
) -> None:
    with pytest.raises(CliError, match=message.replace("(", r"\(")) as error:
        work(document(**spec), tmp_path, **overrides)
    assert error.value.code == 2


def test_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(CliError, match="is not a folder"):
        work(document(), tmp_path, output=str(tmp_path / "out"))
