"""Linear in 8 bits for GPUs: torchao's numbers, any rows, what stays, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mopt_optimizer.errors import QuantizationError, SpecError
from mopt_optimizer.opening.loading import load_exported_program
from mopt_optimizer.quality import sqnr
from mopt_optimizer.torch_quantization.capturing import quiet
from mopt_optimizer.torch_quantization.linears import (
    Fp8Linear,
    Int8Linear,
    LinearType,
    narrow_linears,
)
from mopt_optimizer.torch_quantization.quantized_model import save_program

pytestmark = pytest.mark.optimizer


class Encoder(nn.Module):
    """Two layers of Linear that fit kernels, one that does not, and a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Linear(64, 128)
        self.narrow = nn.Linear(128, 64, bias=False)
        self.odd = nn.Linear(64, 10)
        self.conv = nn.Conv1d(10, 4, 3)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        hidden = self.narrow(torch.relu(self.wide(tokens)))
        result: torch.Tensor = self.conv(self.odd(hidden).transpose(1, 2))
        return result


@pytest.fixture(scope="module")
def program() -> Any:
    torch.manual_seed(0)
    batch = torch.export.Dim("batch", min=1, max=8)
    return torch.export.export(
        Encoder().eval(), (torch.randn(2, 12, 64),), dynamic_shapes=({0: batch},)
    )


EXAMPLE = (torch.randn(2, 12, 64, generator=torch.Generator().manual_seed(1)),)
LEAST_DB = {LinearType.INT8: 35.0, LinearType.FP8: 25.0}


@pytest.mark.parametrize("kind", list(LinearType))
def test_a_program_is_close_at_every_batch_after_its_file_was_read(
    program: Any, kind: LinearType, tmp_path: Path
) -> None:
    made, report = narrow_linears(program, kind, EXAMPLE)
    assert report.quantized == ("wide", "narrow")
    assert report.kept == {
        "odd": f"has a weight of 10 x 64, which are no multiples of {kind.multiple}"
    }
    assert report.others == 1
    save_program(made, tmp_path / "model.pt2")
    read = load_exported_program(tmp_path / "model.pt2", tmp_path)
    for batch in (1, 3, 8):
        tokens = torch.randn(batch, 12, 64)
        with torch.no_grad(), quiet():
            expected, found = program.module()(tokens), read.module()(tokens)
        assert LEAST_DB[kind] < sqnr(expected.numpy(), found.numpy()) < 100


@pytest.mark.parametrize("kind", list(LinearType))
def test_a_file_holds_8_bits_and_no_fp32_beside_them(program: Any, kind: LinearType) -> None:
    made, _ = narrow_linears(program, kind, EXAMPLE)
    dtype = torch.int8 if kind is LinearType.INT8 else torch.float8_e4m3fn
    held = {name: t for name, t in made.state_dict.items() if t.numel() >= 64 * 128}
    assert [t.dtype for t in held.values()] == [dtype] * 2


@pytest.mark.filterwarnings("ignore")
def test_int8_is_torchaos_recipe() -> None:
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

    torch.manual_seed(2)
    layer = nn.Linear(64, 32)
    rows = torch.randn(20, 64) * torch.logspace(-3, 2, 20)[:, None]
    with torch.no_grad():
        ours = Int8Linear(layer.weight.detach(), layer.bias.detach(), per_channel=True)(rows)
        exact = layer(rows)
        quantize_(layer, Int8DynamicActivationInt8WeightConfig())
        theirs = layer(rows)
    # Its scales are the peaks over 127.5: both are as far from the exact numbers as they differ.
    assert sqnr(theirs.numpy(), ours.numpy()) > sqnr(exact.numpy(), theirs.numpy()) - 3
    assert sqnr(exact.numpy(), ours.numpy()) > sqnr(exact.numpy(), theirs.numpy()) - 1


@pytest.mark.parametrize("kind", [Int8Linear, Fp8Linear])
@pytest.mark.parametrize("rows", [torch.zeros(3, 32), torch.full((1, 32), 1e30)])
def test_rows_of_zeros_and_of_large_values_stay_finite(
    kind: type[Int8Linear | Fp8Linear], rows: torch.Tensor
) -> None:
    layer = kind(torch.eye(32), torch.ones(32), per_channel=True)
    found = layer(rows)
    torch.testing.assert_close(found, rows + 1, rtol=0.01, atol=0.01)


def test_one_scale_for_a_weight_is_coarser_where_channels_differ() -> None:
    torch.manual_seed(3)
    weight = torch.randn(16, 32) * torch.logspace(-2, 0, 16)[:, None]
    rows = torch.randn(8, 32)
    exact = rows @ weight.t()
    found = [Int8Linear(weight, None, per_channel=each)(rows) for each in (True, False)]
    fine, coarse = (sqnr(exact[:, :1].numpy(), f[:, :1].numpy()) for f in found)
    assert fine > coarse + 10


def test_an_excluded_layer_stays(program: Any) -> None:
    _, report = narrow_linears(program, LinearType.INT8, EXAMPLE, exclude=("wide",))
    assert report.quantized == ("narrow",)
    assert report.kept["wide"] == "is excluded"
    with pytest.raises(SpecError, match="'head' matches no module"):
        narrow_linears(program, LinearType.INT8, EXAMPLE, exclude=("head",))


def test_a_model_that_gains_nothing_is_told_why(program: Any) -> None:
    with pytest.raises(
        QuantizationError, match="no Linear can be in FP8: wide is excluded; narrow"
    ):
        narrow_linears(program, LinearType.FP8, EXAMPLE, exclude=("wide", "narrow"))
    conv = torch.export.export(nn.Conv2d(3, 8, 3).eval(), (torch.randn(2, 3, 8, 8),))
    with pytest.raises(QuantizationError, match=r"has no Linear.*convolutions, 1 of them, stay"):
        narrow_linears(conv, LinearType.INT8, (torch.randn(2, 3, 8, 8),))


@pytest.mark.parametrize("kind", list(LinearType))
def test_inductor_compiles_it_whole(program: Any, kind: LinearType) -> None:
    made, _ = narrow_linears(program, kind, EXAMPLE)
    with torch.no_grad(), quiet():
        module = made.module()
        compiled = torch.compile(module, dynamic=False, fullgraph=True)
        torch.testing.assert_close(compiled(*EXAMPLE), module(*EXAMPLE), rtol=1e-3, atol=1e-3)
