"""A form that a library crashes on costs that form; other ends of the child end the Job."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mopt_api.enums import ModelFormat
from mopt_api.inputs import InputSpec
from mopt_api.jobs.plan import PlannedModel, PreparePlan
from mopt_optimizer.errors import MemoryExceeded, ModelError
from mopt_optimizer.forms.form import Form
from mopt_optimizer.forms.registry import FormKind
from mopt_optimizer.progress import Log, Timings
from mopt_optimizer.sandbox import ChildDied
from mopt_optimizer.stages.prepare import making
from mopt_optimizer.stages.prepare.making import Making
from mopt_optimizer.stages.prepare.messages import FP32_FILE

FORMS = [Form(kind=FormKind.ONNX_FP16), Form(kind=FormKind.QDQ), Form(kind=FormKind.NNCF)]


def _quiet(step: str, message: str, **fields: object) -> None:
    pass


def _child(dies_in: str, code: int) -> Callable[..., dict[str, Any]]:
    """Return a child that makes forms until it comes to one."""

    def run(module: str, payload: dict[str, Any], folder: Path, log: Log, **_: Any) -> Any:
        assert (folder / FP32_FILE).is_file()
        names = [Form.model_validate(form).name() for form in payload["forms"]]
        for name in names:
            log(name, "making it")
            if name == dies_in:
                raise ChildDied(code)
        return {
            "seconds": {},
            "quantized": [{"name": name, "file": f"{name}.onnx"} for name in names],
        }

    return run


@pytest.fixture
def make(tmp_path: Path) -> Callable[[], making.Made]:
    plan = PreparePlan(
        model=PlannedModel(uri="s3://a/m.onnx", sha256="0" * 64, format=ModelFormat.ONNX),
        inputs=[InputSpec(name="x", shape=[1])],
        dimensions={},
        variants=[],
        output_uri="s3://a/out",
    )
    fp32 = tmp_path / "model.onnx"
    fp32.write_bytes(b"model")
    one = Making(plan, {}, tmp_path, Timings(_quiet), _quiet)
    return lambda: one.make(FORMS, None, fp32=fp32)


@pytest.mark.parametrize("code", [-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGFPE])
def test_a_crash_fails_its_form(
    make: Callable[[], making.Made], monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    first, second, third = (form.name() for form in FORMS)
    monkeypatch.setattr(making, "run_child", _child(second, code))
    made = make()
    assert made.form(first).file
    assert made.form(third).file
    failed = made.form(second)
    assert failed.file is None
    assert failed.error == f"the process that made it was ended by {signal.Signals(-code).name}"


@pytest.mark.parametrize(
    ("dies_in", "code", "error"),
    [
        (FORMS[0].name(), -signal.SIGKILL, MemoryExceeded),
        ("load", -signal.SIGSEGV, ModelError),
    ],
)
def test_what_is_no_forms_fault_is_raised(
    make: Callable[[], making.Made],
    monkeypatch: pytest.MonkeyPatch,
    dies_in: str,
    code: int,
    error: type[Exception],
) -> None:
    run = _child(dies_in, code)
    if dies_in == "load":

        def run(module: str, payload: Any, folder: Path, log: Log, **_: Any) -> Any:
            log("load", "opening")
            raise ChildDied(code)

    monkeypatch.setattr(making, "run_child", run)
    with pytest.raises(error):
        make()
