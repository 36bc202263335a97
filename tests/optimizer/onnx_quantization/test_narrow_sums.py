"""Files for CPUs that add products in 16 bits: no activations make their sums saturate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from mopt_api.auto.int8 import CpuClass
from mopt_api.enums import QualityMetric
from mopt_api.spec import QualityGate
from mopt_optimizer.onnx_files.verify import OnnxSession
from mopt_optimizer.onnx_quantization import Scheme, StaticOptions, quantize_onnx_static
from mopt_optimizer.onnx_quantization import qdq as schemes
from mopt_optimizer.onnx_quantization.judging import Judge
from mopt_optimizer.onnx_quantization.qdq import saturates_here
from mopt_optimizer.quality import psnr

pytestmark = pytest.mark.optimizer

Samples = list[dict[str, NDArray[np.float32]]]
NARROW, WIDE, OTHER = CpuClass.NARROW_X86, CpuClass.WIDE_X86, CpuClass.OTHER


def kernels(path: Path) -> list[NDArray[np.int32]]:
    """Return the 8-bit kernels of a file's convolutions: one row for each output channel."""
    found = [
        numpy_helper.to_array(tensor)
        for tensor in onnx.load(path).graph.initializer
        if tensor.name.startswith("w") and tensor.data_type == onnx.TensorProto.INT8
        if len(tensor.dims) == 4
    ]
    return [kernel.reshape(len(kernel), -1).astype(np.int32) for kernel in found]


def saturates(kernel: NDArray[np.int32]) -> bool:
    """Return whether some activations make the sum of two of a row's products exceed 16 bits.

    Kernels pair neighbours in an order of their own: any two of a row count.
    """
    ordered = np.sort(kernel, axis=1)
    return bool(
        (255 * ordered[:, -2:].sum(axis=1) > 2**15 - 1).any()
        or (255 * ordered[:, :2].sum(axis=1) < -(2**15)).any()
    )


@pytest.mark.parametrize(
    ("scheme", "cut"), [(Scheme.U8S8, True), (Scheme.U8S8_REDUCED, False), (Scheme.S8S8, True)]
)
def test_seven_bits_never_saturate_and_eight_may(
    even_network: Path, samples: Samples, tmp_path: Path, scheme: Scheme, cut: bool
) -> None:
    out = tmp_path / "q.onnx"
    quantize_onnx_static(even_network, out, samples, StaticOptions(scheme=scheme))
    found = kernels(out)
    assert len(found) == 4
    assert any(saturates(kernel) for kernel in found) is cut


@pytest.mark.parametrize("scheme", Scheme)
@pytest.mark.parametrize("cpu", CpuClass)
def test_only_narrow_sums_saturate_and_only_with_eight_bits(
    monkeypatch: pytest.MonkeyPatch, scheme: Scheme, cpu: CpuClass
) -> None:
    monkeypatch.setattr(schemes, "own_cpu_class", lambda: cpu)
    eight = scheme in (Scheme.U8S8, Scheme.S8S8)
    assert saturates_here(scheme) is (cpu is NARROW and eight)


def qualities(path: Path, form: Path, samples: Samples, *, optimized: bool) -> list[float]:
    expected, found = OnnxSession(path), OnnxSession(form, optimized=optimized)
    return [psnr(expected.run(s)[0], found.run(s)[0], data_range=1.0) for s in samples]


GATE = QualityGate(metric=QualityMetric.PSNR, minimum=-50, data_range=1.0)


def test_a_form_for_other_cpus_is_judged_by_what_its_file_says(
    even_network: Path, samples: Samples, tmp_path: Path
) -> None:
    out = tmp_path / "q.onnx"
    quantize_onnx_static(even_network, out, samples, StaticOptions(scheme=Scheme.U8S8))
    model, form = onnx.load(even_network), onnx.load(out)
    for exact in (True, False):
        judged = Judge(model, samples, [GATE], exact=exact).judged(form)
        kernels_said = qualities(even_network, out, samples, optimized=not exact)
        assert [value for (value,) in judged.values] == pytest.approx(kernels_said)


def test_a_search_for_other_cpus_does_not_depend_on_this_ones_kernels(
    even_network: Path, samples: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where AVX2 prepares what VNNI runs: gates are held by the file, whatever runs it."""
    monkeypatch.setattr(schemes, "own_cpu_class", lambda: NARROW)
    options = replace(StaticOptions(scheme=Scheme.U8S8), gates=(GATE,))
    out = tmp_path / "q.onnx"
    report = quantize_onnx_static(even_network, out, samples, options)
    assert report.sensitivity is not None
    assert report.sensitivity.exclude == ()
    said = min(qualities(even_network, out, samples, optimized=False))
    assert report.sensitivity.quality == pytest.approx(said)
