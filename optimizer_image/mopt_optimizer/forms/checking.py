"""Runs each form beside the FP32 model before it may be stored.

A form that makes NaN or infinity where FP32 does not, or whose error is larger than what it ought
to compute, is wrong; how good a right one is, gates say. ONNX files run unoptimized: Q/DQ nodes
then compute what the file says, on any CPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from mopt_api.enums import Precision, Runtime
from mopt_optimizer.data.probes import Probe, probes
from mopt_optimizer.data.samples import Inputs
from mopt_optimizer.errors import ComparisonError, QuantizationError, RuntimeFailure
from mopt_optimizer.machine.threads import granted_threads
from mopt_optimizer.onnx_files.reference_cases import MOST_SECONDS, allowed_seconds
from mopt_optimizer.onnx_files.verify import OnnxSession, lacks_kernel
from mopt_optimizer.quality import Array, check_no_new_non_finite
from mopt_optimizer.quality.comparable import powers
from mopt_optimizer.runtimes import Opening, open_runner

Run = Callable[[Inputs, float], dict[str, Array]]
"""Returns the outputs, if it can within that many seconds: only ONNX Runtime's runs are bounded."""

_ONNX, _PROGRAM = ".onnx", ".pt2"


class _Expected(NamedTuple):
    """FP32's outputs.

    Attributes:
        seconds: That a form may take for the same.
    """

    probe: Probe
    outputs: dict[str, Array]
    seconds: float


@dataclass
class Beside:
    """What forms are compared with: FP32's outputs, computed once.

    Attributes:
        base: Samples, or where there are none noise, at the smallest sizes; None compares nothing.
        samples: The user's; may be empty.
    """

    base: Inputs | None = None
    samples: Sequence[Inputs] = ()
    _known: dict[Path, list[_Expected]] = field(default_factory=dict)

    def check(self, reference: Path, form: Path, *, small: bool = False) -> None:
        """Compare a form with the model that it was made from.

        Args:
            reference: The FP32 model, or the source model's program.
            small: Only inputs that are no larger than the base.

        Raises:
            QuantizationError: It does not run where that does, returns other outputs, makes new NaN
                or infinity, or is grossly wrong; names the input and the output.
        """
        if self.base is None or form.suffix not in (_ONNX, _PROGRAM):
            return
        if reference not in self._known:
            self._known[reference] = self._expected(_opened(reference, form.parent))
        try:
            run = _opened(form, form.parent)
            for probe, expected, seconds in self._known[reference]:
                if small and _values(probe.inputs) > _values(self.base):
                    continue
                _check(probe, expected, run(probe.inputs, seconds), named=form.suffix == _ONNX)
        except RuntimeFailure as error:
            raise QuantizationError(f"the form does not run: {error}") from error

    def _expected(self, run: Run) -> list[_Expected]:
        found: list[_Expected] = []
        for probe in probes(self.base or {}, self.samples):
            started = time.monotonic()
            longest = max((one.seconds for one in found), default=MOST_SECONDS)
            try:
                outputs = run(probe.inputs, longest)
            except RuntimeFailure:
                continue  # No input of this model's: it ends the model as it came too.
            found.append(_Expected(probe, outputs, allowed_seconds(time.monotonic() - started)))
        return found


def _values(inputs: Inputs) -> int:
    return sum(values.size for values in inputs.values())


def _opened(path: Path, scratch: Path) -> Run:
    """Return what runs a file.

    Args:
        scratch: Folder for temporary files: only the form's own may be written to.

    Raises:
        RuntimeFailure: No runtime opens it.
    """
    if path.suffix == _PROGRAM:
        return _runner(Runtime.PYTORCH, path, scratch)
    try:
        session = OnnxSession(path, optimized=False)
    except RuntimeFailure as error:
        if not lacks_kernel(error):
            raise
        # ONNX Runtime lacks most kernels of BF16 on CPUs.
        return _runner(Runtime.OPENVINO, path, scratch)
    return lambda inputs, seconds: dict(
        zip(session.outputs, session.run(inputs, seconds), strict=True)
    )


def _runner(runtime: Runtime, path: Path, scratch: Path) -> Run:
    opening = Opening(
        runtime=runtime,
        precision=Precision.FP32,
        path=path,
        threads=granted_threads(),
        scratch=scratch,
    )
    runner = open_runner(opening)
    return lambda inputs, _: runner.run(inputs)


def _check(
    probe: Probe, expected: dict[str, Array], found: dict[str, Array], *, named: bool
) -> None:
    if len(found) != len(expected) or (named and [*found] != [*expected]):
        raise QuantizationError(
            f"the form's outputs are {', '.join(found)}; FP32's are {', '.join(expected)}"
        )
    pairs = list(zip(expected, expected.values(), found.values(), strict=True))
    for name, before, after in pairs:
        if before.dtype != after.dtype:
            raise QuantizationError(
                f"output {name} of the form is {after.dtype}, FP32's is {before.dtype}"
            )
    try:
        check_no_new_non_finite([*expected.values()], [*found.values()], [*expected])
    except ComparisonError as error:
        raise QuantizationError(f"the form is wrong on {probe.name}: {error}") from error
    for name, before, after in pairs if probe.likely else ():
        if gross(before, after):
            raise QuantizationError(
                f"the form is wrong on {probe.name}: the error of output {name} is larger than the "
                "output"
            )


def gross(expected: Array, found: Array) -> bool:
    """Return whether zeros would be closer to the expected values than those found are.

    That is an SQNR below 0 dB: no loss of precision, but another function. Of equal shapes only,
    since rows of detections may differ in number; integers, such as ids, have no distance.
    """
    if expected.shape != found.shape or expected.dtype.kind != "f":
        return False
    signal, noise = powers(expected, found)
    return noise > signal > 0
