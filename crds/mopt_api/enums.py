"""The closed sets of values in `spec`: formats, runtimes, precisions, metrics."""

from __future__ import annotations

from enum import StrEnum

from .extensible import ExtensibleEnum


class ModelFormat(ExtensibleEnum):
    """Format of the model file."""

    ONNX = "ONNX"
    EXPORTED_PROGRAM = "ExportedProgram"
    TORCH_SCRIPT = "TorchScript"


class StoreCredentials(StrEnum):
    """Other credentials of a store than a Secret's keys."""

    ANONYMOUS = "Anonymous"


class DType(StrEnum):
    """Element type of a model input."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    FLOAT64 = "float64"
    INT64 = "int64"
    INT32 = "int32"
    INT16 = "int16"
    INT8 = "int8"
    UINT8 = "uint8"
    BOOL = "bool"


class ImageLayout(StrEnum):
    """Order of an image input's axes."""

    NCHW = "NCHW"
    NHWC = "NHWC"


class ImageColor(StrEnum):
    """Channels of an image input, in order; Gray is ITU-R 601 luma."""

    RGB = "RGB"
    BGR = "BGR"
    GRAY = "Gray"

    @property
    def channels(self) -> int:
        """Number of channels."""
        return 1 if self is ImageColor.GRAY else 3


class Runtime(ExtensibleEnum):
    """Runtime that executes a variant."""

    PYTORCH = "PyTorch"
    ONNX_RUNTIME = "ONNXRuntime"
    OPENVINO = "OpenVINO"
    TENSORRT = "TensorRT"


class Precision(StrEnum):
    """Precision a variant computes in."""

    FP32 = "FP32"
    FP16 = "FP16"
    BF16 = "BF16"
    INT8 = "INT8"
    FP8 = "FP8"


class FloatPrecision(StrEnum):
    """Precision of what is not INT8 in an INT8 variant."""

    FP32 = "FP32"
    BF16 = "BF16"


class TargetKind(ExtensibleEnum):
    """Hardware of a target's Jobs: only CPUs; an NVIDIA GPU; or, BuildOnly, no GPU, and engines are
    built for GPUs elsewhere."""

    CPU = "CPU"
    GPU = "GPU"
    BUILD_ONLY = "BuildOnly"


class ExecutionProvider(StrEnum):
    """Execution provider of ONNX Runtime."""

    CPU = "CPU"
    CUDA = "CUDA"
    TENSORRT = "TensorRT"


class QuantizationMode(StrEnum):
    """When activation ranges are determined: Static, before serving, from calibration data;
    Dynamic, in each run; WeightOnly, never, since only weights are integers."""

    STATIC = "Static"
    DYNAMIC = "Dynamic"
    WEIGHT_ONLY = "WeightOnly"


class QuantizationMethod(StrEnum):
    """The quantizer of static INT8 for OpenVINO: QDQ, that of mopt, whose file also serves ONNX
    Runtime; NNCF, that of OpenVINO."""

    QDQ = "QDQ"
    NNCF = "NNCF"


class TorchMode(StrEnum):
    """How PyTorch runs: operator by operator, or compiled by torch.compile at the first call."""

    EAGER = "Eager"
    COMPILED = "Compiled"


class Calibrator(StrEnum):
    """How a range is chosen from the calibration data's values."""

    MIN_MAX = "MinMax"
    PERCENTILE = "Percentile"
    ENTROPY = "Entropy"
    MSE = "MSE"


class Fallback(StrEnum):
    """Whether layers stay FP32 where INT8 would miss a quality gate."""

    AUTO = "Auto"
    OFF = "Off"


class QualityMetric(ExtensibleEnum):
    """How a variant's output is compared with the FP32 output, or with ground truth."""

    PSNR = "PSNR"
    SSIM = "SSIM"
    SQNR = "SQNR"
    COSINE = "Cosine"
    MAX_ABS_ERROR = "MaxAbsError"
    TOP1_AGREEMENT = "Top1Agreement"
    DETECTION_F1 = "DetectionF1"
    SEQUENCE_AGREEMENT = "SequenceAgreement"
    NEIGHBOR_AGREEMENT = "NeighborAgreement"


class Aggregate(StrEnum):
    """Which value over the evaluation samples a gate judges: Tolerance is what, with 95 %
    confidence, at least 95 % of new samples reach."""

    WORST = "Worst"
    MEAN = "Mean"
    TOLERANCE = "Tolerance"


class ObjectiveMetric(StrEnum):
    """Figure that the winner is chosen by."""

    LATENCY_P50 = "LatencyP50"
    LATENCY_P90 = "LatencyP90"
    LATENCY_P99 = "LatencyP99"
    THROUGHPUT = "Throughput"
    SIZE_BYTES = "SizeBytes"
    PEAK_MEMORY = "PeakMemory"
    COST_PER_MILLION = "CostPerMillion"
    """Of a million samples, by the profile's pricePerHour."""


class OnNoWinner(StrEnum):
    """What happens when nothing beats the baseline within the gates."""

    KEEP_BASELINE = "KeepBaseline"
    FAIL = "Fail"
