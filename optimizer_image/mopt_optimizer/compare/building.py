"""The files that the strategies of a torch model run, made as the Jobs make them, and opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mopt_api.auto.int8 import CpuClass
from mopt_api.enums import ModelFormat, Runtime
from mopt_api.jobs.plan import baseline_variant
from mopt_api.variants import Variant
from mopt_optimizer.errors import DataError, NonFiniteOutput
from mopt_optimizer.forms.checking import Beside
from mopt_optimizer.forms.form import FP32, Form, form_of
from mopt_optimizer.forms.make import make
from mopt_optimizer.forms.material import Material
from mopt_optimizer.machine.system import own_cpu_class
from mopt_optimizer.onnx_files.files import model_bytes
from mopt_optimizer.onnx_files.verify import Case
from mopt_optimizer.quality import Array, check_some_finite
from mopt_optimizer.runtimes import Opening, Runner, open_runner

if TYPE_CHECKING:
    import torch

Sample = dict[str, Array]


def arrays_of(samples: Sequence[Any], names: Sequence[str], what: str) -> list[Sample]:
    """Return samples as arrays by the names of the model's inputs.

    Args:
        samples: Each a tensor, a tuple, or a dict by input name.
        what: One of them, for messages.

    Raises:
        DataError: There are none, or one has other inputs.
    """
    from mopt_optimizer.torch_quantization.sampling import positional

    if not len(samples):
        raise DataError(f"no {what}s; give at least one real input")
    return [
        {
            name: np.ascontiguousarray(tensor.numpy())
            for name, tensor in zip(
                names, positional(s, names, f"{what} {i}", DataError), strict=False
            )
        }
        for i, s in enumerate(samples)
    ]


@dataclass(frozen=True)
class Opened:
    """A strategy's file, opened by its runtime."""

    runner: Runner
    size_bytes: int


@dataclass
class Builder:
    """Makes and opens the strategies' files; each file is made once, on demand.

    Attributes:
        model: In FP32, not changed.
        names: Of its inputs.
        samples: What quality is computed on; the first is exported with.
        calibration: What ranges of INT8 come from.
        dynamic_axes: {input: {axis: name}} for the ONNX file; None fixes the first sample's sizes.
        threads: For each runtime.
        folder: Empty.
        stack: Closes what was opened.
    """

    model: torch.nn.Module
    names: Sequence[str]
    samples: Sequence[Sample]
    calibration: Sequence[Sample]
    dynamic_axes: Mapping[str, Mapping[int, str]] | None
    threads: int
    folder: Path
    stack: ExitStack
    expected: list[list[Array]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.expected = [self._reference(number) for number in range(len(self.samples))]

    def baseline(self) -> Opened:
        """Return the model as a program in FP32, opened by PyTorch eager.

        Raises:
            ExportError: torch cannot capture it.
        """
        from mopt_optimizer.torch_quantization.capturing import capture
        from mopt_optimizer.torch_quantization.quantized_model import save_program

        program = capture(self.model, self._tensors(self.samples[0]), dynamic=True)
        save_program(program, self._program)
        return self.opened(baseline_variant(ModelFormat.EXPORTED_PROGRAM))

    def opened(self, variant: Variant) -> Opened:
        """Return what a variant runs, made if need be.

        Raises:
            QuantizationError, ExportError: It cannot be made.
            RuntimeFailure: Its runtime does not open it.
        """
        path = self._file(variant)
        runner = open_runner(
            Opening(
                runtime=variant.runtime,
                precision=variant.precision,
                float_precision=variant.float_precision,
                path=path,
                threads=self.threads,
                compiled=variant.compiled,
            )
        )
        size = model_bytes(path) if path.suffix == ".onnx" else path.stat().st_size
        return Opened(self.stack.enter_context(runner), size)

    @property
    def _program(self) -> Path:
        return self.folder / "model.pt2"

    def _file(self, variant: Variant) -> Path:
        form = form_of(variant, narrow_sums=own_cpu_class() is CpuClass.NARROW_X86)
        if form is not None:
            return self._made(form)
        return self._program if variant.runtime is Runtime.PYTORCH else self._fp32()

    def _made(self, form: Form) -> Path:
        path = self._place(form.name(), form.suffix)
        if not path.exists():
            fp32 = self._program if form.from_program else self._fp32()
            beside = Beside(self.samples[0], self.calibration)
            cases = self._cases()
            make(form, Material(fp32, self._program, self.calibration, [], cases, beside), path)
        return path

    def _fp32(self) -> Path:
        """Return the optimized and verified ONNX file in FP32."""
        path = self._place(FP32, ".onnx")
        if not path.exists():
            from mopt_optimizer.export import ONNXExporter

            axes = self.dynamic_axes
            ONNXExporter().export(
                self.model,
                self._tensors(self.samples[0]),
                path,
                None if axes is None else {name: dict(a) for name, a in axes.items()},
            )
        return path

    def _place(self, name: str, suffix: str) -> Path:
        # A folder for each: the files that weights of large models lie in all have one name.
        path = self.folder / name / f"model{suffix}"
        path.parent.mkdir(exist_ok=True)
        return path

    def _cases(self) -> list[Case]:
        """Return a case for each set of shapes among the samples, the first sample's last."""
        pairs = list(zip(self.samples, self.expected, strict=True))
        cases = {_shapes(sample): Case({}, sample, tuple(out)) for sample, out in pairs[::-1]}
        first = cases.pop(_shapes(self.samples[0]))
        return [*cases.values(), first]

    def _tensors(self, sample: Sample) -> tuple[torch.Tensor, ...]:
        import torch

        return tuple(torch.from_numpy(sample[name]) for name in self.names if name in sample)

    def _reference(self, number: int) -> list[Array]:
        """Return the FP32 model's outputs for a sample.

        Raises:
            DataError: The model does not take it.
            NonFiniteOutput: The model gives nothing but NaN and infinity.
        """
        import torch

        from mopt_optimizer.torch_quantization.capturing import tensors

        try:
            with torch.inference_mode():
                found = tensors(self.model(*self._tensors(self.samples[number])))
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise DataError(f"sample {number} is not for this model: {error}") from error
        outputs = [tensor.float().numpy() for tensor in found]
        try:
            check_some_finite(outputs)
        except NonFiniteOutput as error:
            raise NonFiniteOutput(f"FP32, sample {number}: {error}") from error
        return outputs


def _shapes(sample: Sample) -> tuple[tuple[int, ...], ...]:
    return tuple(array.shape for array in sample.values())
