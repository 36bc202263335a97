"""One model of the standard through what mopt's Jobs do with a model, in this process.

The same functions that the stages call: describe and init's text, check, the ONNX source format,
the graph passes, the forms, the runtimes, and the judging by the gates that init writes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import onnx
import yaml
from own_forms import IS_NARROW

from mopt_api.enums import ModelFormat, Precision, Runtime
from mopt_api.jobs.prepare_result import PassOutcome
from mopt_api.spec import ModelOptimizationSpec, QualityGate
from mopt_cli._errors import CliError
from mopt_cli.initializing import resource_text
from mopt_cli.resources import checked_spec
from mopt_optimizer.errors import OptimizerError, first_line
from mopt_optimizer.formats.base import DescribeRequest, Source
from mopt_optimizer.formats.registry import describe_file, source_format
from mopt_optimizer.forms.form import Form
from mopt_optimizer.forms.make import make
from mopt_optimizer.forms.material import Material
from mopt_optimizer.forms.registry import FormKind
from mopt_optimizer.onnx_files.files import gather_weights
from mopt_optimizer.onnx_files.verify import Case, verify_export
from mopt_optimizer.passes import named_passes
from mopt_optimizer.passes.running import optimize
from mopt_optimizer.progress import Timings
from mopt_optimizer.quality import Comparison, Distance, Profile, data_ranges
from mopt_optimizer.runtimes import Opening, open_runner

from .bars import FP16_ERROR, INT8_COSINE, alike, near, other_integers, suite_difference
from .suites import SuiteCase, Values

_THREADS = 1
# Messages quote the path of a file in the folder of a run.
_FOLDER = re.compile(r"/\S*/(?=(?:fp32|fp16|int8)/|model\.onnx)")


class Outcome(StrEnum):
    """How a step ended.

    EQUAL: within the bar of the step. RUNTIME: ONNX Runtime itself fails, or computes something
    else, on the file as it is. REFUSED: a typed error. REJECTED: mopt's gates reject the form.
    NEAR: by mopt's gates Passed, and farther off than the suite's tolerance, within the bar of
    FP32. WRONG: Passed, and none of these. FAULT: an error without a type.
    """

    EQUAL = "equal"
    RUNTIME = "runtime"
    REFUSED = "refused"
    REJECTED = "rejected"
    NEAR = "near"
    WRONG = "wrong"
    FAULT = "fault"


STEPS = (
    "init",
    "source",
    "export",
    "passes",
    "onnxruntime",
    "openvino",
    "fp16",
    "int8",
    "int8-openvino",
)
"""The order in which a case goes through them; what follows a failed source, init, export or
passes is not reached."""


@dataclass
class Result:
    """What became of a case: per step the outcome and what was said of it."""

    steps: dict[str, tuple[Outcome, str]] = field(default_factory=dict)

    def note(self, step: str, outcome: Outcome, said: str = "") -> bool:
        """Keep a step's outcome; return whether the case may go on."""
        self.steps[step] = (outcome, _FOLDER.sub("", said)[:300])
        return outcome is Outcome.EQUAL


def refusal(error: OptimizerError | CliError) -> str:
    """Return an error's class and first line."""
    return f"{type(error).__name__}: {first_line(error)}"


def run(case: SuiteCase, workdir: Path) -> Result:
    """Take a case through all steps. Nothing is raised: a fault is an outcome."""
    result = Result()
    step = _Steps(case, workdir, result)
    for name, call in step.calls():
        try:
            if not call():
                break
        except (OptimizerError, CliError) as error:
            result.note(name, Outcome.REFUSED, refusal(error))
            break
        except Exception as error:  # noqa: BLE001 - the outcome that must not be
            result.note(name, Outcome.FAULT, f"{type(error).__name__}: {first_line(error)}")
            break
    return result


def _silent(step: str, message: str, **fields: object) -> None:
    """Take progress and do nothing."""


class _Steps:
    """The steps of one case, in order; each returns whether the next may follow."""

    def __init__(self, case: SuiteCase, workdir: Path, result: Result) -> None:
        self._case = case
        self._workdir = workdir
        self._result = result
        self._path = workdir / "model.onnx"
        self._fp32 = workdir / "fp32" / "model.onnx"
        self._feeds = [_feeds(case.model, fed) for fed, _ in case.sets]
        self._expected = [wanted for _, wanted in case.sets]

    def calls(self) -> list[tuple[str, Callable[[], bool]]]:
        return [
            ("init", self._init),
            ("source", self._source),
            ("export", self._export),
            ("passes", self._passes),
            ("onnxruntime", self._onnxruntime),
            ("openvino", self._openvino),
            ("fp16", self._fp16),
            ("int8", self._int8),
        ]

    def _source(self) -> bool:
        """Run the file as it is by ONNX Runtime, without mopt."""
        said = _plain(self._path, self._feeds, self._expected, self._case)
        if said:
            return self._result.note("source", Outcome.RUNTIME, said)
        return self._result.note("source", Outcome.EQUAL)

    def _init(self) -> bool:
        onnx.save(self._case.model, self._path)
        request = DescribeRequest(path=str(self._path), format=ModelFormat.ONNX, run=True)
        described = describe_file(request, self._workdir)
        text = resource_text(described, name="model", file_name="model.onnx", sha256="0" * 64)
        self._spec: ModelOptimizationSpec = checked_spec(yaml.safe_load(text)["spec"], self._path)
        return self._result.note("init", Outcome.EQUAL)

    def _export(self) -> bool:
        self._fp32.parent.mkdir()
        spec, timings = self._spec, Timings(_silent)
        sizes = spec.every_dimension
        # As a user's data are; an array without a value is refused there.
        samples = [fed for fed in self._feeds if all(array.size for array in fed.values())]
        source = Source(self._path, spec.inputs, sizes, self._workdir, timings, samples)
        self._cases: list[Case] = source_format(ModelFormat.ONNX).to_onnx(source, self._fp32)
        verify_export(self._fp32, self._cases)
        return self._result.note("export", Outcome.EQUAL)

    def _passes(self) -> bool:
        reports = optimize(self._fp32, named_passes(), self._cases, _silent)
        gather_weights(self._fp32)
        undone = [f"{r.name}: {r.message}" for r in reports if r.outcome is PassOutcome.ROLLED_BACK]
        broken = [said for said in undone if "it failed: " in said]
        return self._result.note("passes", Outcome.EQUAL, "; ".join(broken or undone))

    def _onnxruntime(self) -> bool:
        self._reference = self._outputs(Runtime.ONNX_RUNTIME, Precision.FP32, self._fp32)
        for found, expected in zip(self._reference, self._expected, strict=True):
            if said := self._named(found) or self._suite(list(found.values()), expected):
                self._result.note("onnxruntime", Outcome.WRONG, said)
                return False
        return self._result.note("onnxruntime", Outcome.EQUAL)

    def _openvino(self) -> bool:
        self._form("openvino", Runtime.OPENVINO, Precision.FP32, self._fp32)
        return True

    def _fp16(self) -> bool:
        if (path := self._made("fp16", FormKind.ONNX_FP16)) is not None:
            self._form("fp16", Runtime.ONNX_RUNTIME, Precision.FP16, path)
        return True

    def _int8(self) -> bool:
        if (path := self._made("int8", FormKind.QDQ)) is not None:
            self._form("int8", Runtime.ONNX_RUNTIME, Precision.INT8, path)
            self._form("int8-openvino", Runtime.OPENVINO, Precision.INT8, path)
        return True

    def _made(self, step: str, kind: FormKind) -> Path | None:
        material = Material(self._fp32, self._path, self._feeds, self._spec.quality, self._cases)
        path = self._workdir / step / "model.onnx"
        path.parent.mkdir()
        form = Form(kind=kind, narrow_sums=IS_NARROW and kind is FormKind.QDQ)
        return path if self._caught(step, lambda: make(form, material, path)) else None

    def _form(self, step: str, runtime: Runtime, precision: Precision, path: Path) -> None:
        self._caught(step, lambda: self._judged(step, runtime, precision, path))

    def _caught(self, step: str, call: Callable[[], object]) -> bool:
        """Do it; return whether it ended without an error, which concerns this form alone."""
        try:
            call()
        except OptimizerError as error:
            return self._result.note(step, Outcome.REFUSED, refusal(error))
        except Exception as error:  # noqa: BLE001 - as in run
            said = f"{type(error).__name__}: {first_line(error)}"
            return self._result.note(step, Outcome.FAULT, said)
        return True

    def _judged(self, step: str, runtime: Runtime, precision: Precision, path: Path) -> None:
        outputs = self._outputs(runtime, precision, path)
        if said := next(filter(None, map(self._named, outputs)), None):
            self._result.note(step, Outcome.WRONG, said)
            return
        rejected = rejection(self._reference, outputs, self._spec.quality, precision)
        worst = Outcome.EQUAL, ""
        for found, fp32, expected in zip(outputs, self._reference, self._expected, strict=True):
            one = self._against(precision, found, fp32, expected)
            worst = max(worst, one, key=lambda o: list(Outcome).index(o[0]))
        right = worst[0] in (Outcome.EQUAL, Outcome.NEAR)
        if rejected and right and precision is Precision.FP32:
            self._result.note(step, Outcome.WRONG, f"rejected although it is right: {rejected}")
        elif rejected and worst[0] is not Outcome.EQUAL:
            self._result.note(step, Outcome.REJECTED, rejected)
        else:
            self._result.note(step, *worst)

    def _against(
        self, precision: Precision, found: _Outputs, fp32: _Outputs, expected: Values
    ) -> tuple[Outcome, str]:
        ours, theirs = list(found.values()), list(fp32.values())
        if precision is Precision.FP32:
            said = self._suite(ours, expected)
            if said and not (other_integers(ours, theirs) or near(ours, theirs, 1e-3)):
                return Outcome.NEAR, said
        elif precision is Precision.FP16:
            said = near(ours, theirs, FP16_ERROR)
        else:
            said = alike(ours, theirs, INT8_COSINE)
        return (Outcome.WRONG, said) if said else (Outcome.EQUAL, "")

    def _outputs(self, runtime: Runtime, precision: Precision, path: Path) -> list[_Outputs]:
        opening = Opening(runtime=runtime, precision=precision, path=path, threads=_THREADS)
        with open_runner(opening) as runner:
            return [runner.run(feeds) for feeds in self._feeds]

    def _named(self, found: _Outputs) -> str | None:
        names = [output.name for output in self._case.model.graph.output]
        return None if list(found) == names else f"outputs {list(found)} instead of {names}"

    def _suite(self, found: Values, expected: Values) -> str | None:
        return suite_difference(found, expected, self._case.rtol, self._case.atol)


_Outputs = Mapping[str, Any]


def _feeds(model: onnx.ModelProto, fed: Values) -> dict[str, Any]:
    """Return what is fed by name: of every input, or, where weights are inputs too, of the others.

    A weight that the suite feeds as well keeps its value: callers do not replace weights.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    names = [value.name for value in model.graph.input]
    free = [name for name in names if name not in weights]
    pairs = zip(free if len(fed) == len(free) else names, fed, strict=False)
    return {name: value for name, value in pairs if name not in weights}


def _plain(
    path: Path, feeds: Sequence[dict[str, Any]], expected: Sequence[Values], case: SuiteCase
) -> str | None:
    """Return how ONNX Runtime itself, unoptimized, fails or differs from the suite."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = _THREADS
    try:
        session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
        found = [session.run(None, one) for one in feeds]
    except Exception as error:  # noqa: BLE001 - whatever it says, it is not ours
        return f"fails: {first_line(error)}"
    for one, wanted in zip(found, expected, strict=True):
        if said := suite_difference(one, wanted, case.rtol, case.atol):
            return f"differs: {said}"
    return None


def rejection(
    reference: Sequence[_Outputs],
    outputs: Sequence[_Outputs],
    gates: Sequence[QualityGate],
    precision: Precision,
) -> str | None:
    """Return why the measurement would reject a form, as its stage does; None where it passes."""
    profile, distance = Profile(), Distance()
    for one in reference:
        profile.add(list(one.values()))
    comparison = Comparison(data_ranges(gates), required=False, profile=profile)
    for one, other in zip(reference, outputs, strict=True):
        try:
            comparison.add(list(one.values()), list(other.values()))
        except OptimizerError as error:
            return refusal(error)
        distance.add(list(one.values()), list(other.values()))
    if said := comparison.constant_channel():
        return said
    if precision is Precision.FP32 and (said := distance.fault()):
        return said
    results = {result.metric: result for result in comparison.results()}
    for gate in gates:
        found = results.get(gate.metric)
        if found is not None and not gate.passes(found.worst):
            return f"{gate.metric} {found.worst:.4g}"
    return None
