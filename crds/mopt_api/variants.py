"""`spec.variants` of a ModelOptimization: a form of the model, and how it is made."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .base import ApiModel, Name, Rule
from .enums import (
    Calibrator,
    ExecutionProvider,
    Fallback,
    FloatPrecision,
    Precision,
    QuantizationMethod,
    QuantizationMode,
    Runtime,
    TargetKind,
    TorchMode,
)
from .runtime_rules import (
    budget_rule,
    calibrator_rule,
    float_precision_rule,
    method_rule,
    mode_rule,
    precision_rule,
    provider_rule,
    quantization_rule,
    torch_mode_rule,
    weight_only_rule,
)
from .runtimes import RUNTIMES
from .targets import KINDS


class Quantization(ApiModel):
    """How an INT8 variant is quantized."""

    mode: QuantizationMode = Field(
        default=QuantizationMode.STATIC,
        description="When activation ranges are determined. Dynamic needs no calibration data; it "
        "quantizes MatMul and Gemm, and Conv only where the model has neither. In PyTorch it "
        "quantizes Linear; of Conv2d only the weights, which still computes in FP32. WeightOnly "
        "stores weights as integers and computes in FP32: fewer bytes, no data needed.",
    )
    weight_bits: Literal[4, 8] | None = Field(
        default=None,
        description="Bits of weights, for mode WeightOnly: 8, the default, or 4, with a scale for "
        "each 32 to 128 values, of MatMul and Gemm; what loses most by that keeps 8.",
    )
    method: QuantizationMethod = Field(
        default=QuantizationMethod.QDQ,
        description="For runtime OpenVINO: QDQ, the same file as ONNX Runtime's INT8; or NNCF, "
        "OpenVINO's quantizer, which chooses ranges and scales itself. "
        "PyTorch's INT8 always uses torchao.",
    )
    calibrator: Calibrator = Field(
        default=Calibrator.MIN_MAX,
        description="MinMax takes the widest range seen, Percentile drops outliers (99.99 %), "
        "Entropy clips where least information is lost, MSE where the squared error is least. For "
        "mode Static and method QDQ; PyTorch has its own.",
    )
    per_channel: bool = Field(
        default=True, description="One weight scale per output channel instead of per tensor."
    )
    float_precision: FloatPrecision = Field(
        default=FloatPrecision.FP32,
        description="Precision of what is not INT8, for runtime OpenVINO: BF16 runs the same file "
        "with the rest of its arithmetic in BF16, on CPUs that have it.",
    )
    exclude: list[Annotated[str, Field(min_length=1, max_length=256)]] = Field(
        default=[],
        max_length=12,
        description="What stays FP32: names of nodes of the prepared FP32 model, or operator "
        "types such as Conv; for runtime PyTorch, names of modules such as body.0, with all they "
        "contain. A name that matches nothing fails the variant.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    fallback: Fallback = Field(
        default=Fallback.AUTO,
        description="Auto: with quality gates, static INT8 keeps as few layers in FP32 as the "
        "gates need to hold on the calibration data; changed gates then quantize and measure "
        "again. Off: every layer becomes INT8, as always in PyTorch, and with "
        "data.evaluation.references, since gates then compare with ground truth, which calibration "
        "data lacks.",
    )
    search_budget_seconds: int | None = Field(
        default=None,
        ge=1,
        le=14400,
        description="Longest time to search for the layers that fallback Auto keeps in FP32; what "
        "holds the gates by then is taken, with more layers in FP32 than a longer search may need. "
        "Omitted, 600 times the FP32 model's latency for a calibration sample in the prepare Job, "
        "from one minute to half an hour.",
    )

    RULES = (
        Rule(
            "!has(self.mode) || self.mode == 'Static' || !has(self.calibrator) || "
            "self.calibrator == 'MinMax'",
            "calibrator belongs to mode Static; leave it out with Dynamic and WeightOnly",
            lambda q: q.mode is QuantizationMode.STATIC or q.calibrator is Calibrator.MIN_MAX,
        ),
        Rule(
            "!has(self.weightBits) || (has(self.mode) && self.mode == 'WeightOnly')",
            "weightBits belongs to mode WeightOnly; leave it out with Static and Dynamic",
            lambda q: q.weight_bits is None or q.mode is QuantizationMode.WEIGHT_ONLY,
        ),
        Rule(
            "!has(self.method) || self.method != 'NNCF' || ("
            "(!has(self.mode) || self.mode == 'Static') && "
            "(!has(self.calibrator) || self.calibrator == 'MinMax') && "
            "(!has(self.perChannel) || self.perChannel))",
            "method NNCF is static and chooses ranges and scales itself: leave mode, calibrator "
            "and perChannel out",
            lambda q: (
                q.method is not QuantizationMethod.NNCF
                or (
                    q.mode is QuantizationMode.STATIC
                    and q.calibrator is Calibrator.MIN_MAX
                    and q.per_channel
                )
            ),
        ),
        Rule(
            "!has(self.searchBudgetSeconds) || ("
            "(!has(self.mode) || self.mode == 'Static') && "
            "(!has(self.fallback) || self.fallback == 'Auto'))",
            "searchBudgetSeconds is for the search of mode Static and fallback Auto; leave it out",
            lambda q: q.search_budget_seconds is None or q.searches,
        ),
    )

    @property
    def searches(self) -> bool:
        """Whether layers are searched that stay FP32, where there are gates."""
        return self.mode is QuantizationMode.STATIC and self.fallback is Fallback.AUTO


def uses_bf16(precision: str, float_precision: str | None) -> bool:
    """Return whether a form computes in BF16, or does so beside INT8.

    Args:
        float_precision: Of what is not INT8; None where that is FP32.
    """
    return Precision.BF16 in (precision, float_precision)


class Variant(ApiModel):
    """One form of the model to build and measure."""

    name: Name = Field(description="Unique name, shown in status.")
    runtime: Runtime = Field(description="Runtime that executes it.")
    precision: Precision = Field(description="Precision it computes in.")
    quantization: Quantization | None = Field(
        default=None,
        description="How INT8 or FP8 is produced; only with these. PyTorch's FP8 takes none.",
    )
    torch_mode: TorchMode | None = Field(
        default=None,
        description="How PyTorch runs it: Eager, operator by operator, or Compiled, by "
        "torch.compile at the first call, which needs a C++ compiler where it runs. Omitted, "
        "Compiled for INT8 and FP8, whose fast kernels need it, else Eager.",
    )
    execution_provider: ExecutionProvider | None = Field(
        default=None,
        description="Execution provider of ONNX Runtime. CUDA and TensorRT need a target with an "
        "NVIDIA GPU. Omitted, CUDA where the target has one, else CPU.",
    )

    RULES = (
        quantization_rule(),
        precision_rule(),
        Rule(
            "self.name != 'baseline'",
            "the name baseline is reserved for the source model",
            lambda v: v.name != "baseline",
        ),
        mode_rule(),
        weight_only_rule(),
        method_rule(),
        float_precision_rule(),
        calibrator_rule(),
        budget_rule(),
        torch_mode_rule(),
        Rule(
            "!has(self.torchMode) || self.torchMode != 'Eager' || self.precision != 'INT8'",
            "PyTorch runs INT8 only Compiled: leave torchMode out",
            lambda v: v.torch_mode is not TorchMode.EAGER or v.precision is not Precision.INT8,
        ),
        provider_rule(),
    )

    @property
    def compiled(self) -> bool:
        """Whether PyTorch compiles it where it runs."""
        if self.torch_mode is None:
            return self.precision in RUNTIMES[self.runtime].compiled
        return self.torch_mode is TorchMode.COMPILED

    @property
    def float_precision(self) -> FloatPrecision | None:
        """The precision of what is not INT8, where that is not FP32."""
        found = self.quantization.float_precision if self.quantization else FloatPrecision.FP32
        return None if found is FloatPrecision.FP32 else found

    @property
    def uses_bf16(self) -> bool:
        """Whether it computes in BF16, or does so beside INT8."""
        return uses_bf16(self.precision, self.float_precision)

    @property
    def gpu_only(self) -> bool:
        """Whether it runs on a GPU alone."""
        return not self.runs_on(TargetKind.CPU)

    def runs_on(self, kind: TargetKind) -> bool:
        """Return whether a kind of target runs it, or builds it."""
        provider = self.execution_provider
        return RUNTIMES[self.runtime].computes(self.precision, kind) and (
            provider is None or provider in KINDS[kind].providers
        )
