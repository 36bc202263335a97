"""Errors of the optimizer.

OptimizerError
├── SpecError            InvalidSpec         a field of the plan cannot be carried out
│   ├── BackendError         InvalidSpec         a quantization backend that is not there
│   ├── TensorRTNotInstalled InvalidSpec         no usable TensorRT on this machine
│   └── UnservableForm       InvalidSpec         a form that a server cannot load as it was measured
├── DimensionError       InvalidDimension    shapes or dimensions the model does not have or take
│   └── ProfileViolation     InvalidDimension    a shape outside an engine's profile
├── ModelError           InvalidModel        not a model, truncated, damaged
│   ├── NonFiniteWeight  InvalidModel        NaN or infinity in a parameter
│   ├── UnsafeModelError UnsafeModel         would run code when opened
│   ├── NoUsableForm     InvalidModel        no form of a model runs on this machine
│   └── UnusableEngine   InvalidModel        an engine that this TensorRT cannot load
│       ├── DamagedEngine    InvalidModel        truncated, or without its manifest
│       └── EngineVersionMismatch  InvalidModel  built by another TensorRT
├── DataError            InvalidData         an image or folder that cannot be used
│   └── CalibrationError InvalidData         samples that the model cannot be calibrated on
├── QuantizationError    InternalError       a model that a quantizer cannot take
├── ExportError          ExportFailed        an operator or node that ONNX cannot express
│   ├── OpsetError       ExportFailed        no such form in the opset asked for
│   └── EngineBuildError ExportFailed        TensorRT builds no engine from the model
│       ├── ParserRefusal    ExportFailed        a node that TensorRT's parser does not take
│       └── EngineOutOfMemory  ExportFailed      the builder ran out of memory
├── GpuNotFound          AcceleratorNotFound no NVIDIA GPU, or no driver
│   └── WrongGpu         AcceleratorNotFound an engine for other GPUs
├── EngineRunError       InternalError       TensorRT failed while it ran an engine
├── RuntimeFailure       InternalError       a runtime refuses a model, or fails in computing
│   ├── RunTimeout           InternalError       a run that did not end in time
│   └── OutOfMemory          OutOfMemory         it gets no memory
├── MemoryExceeded       OutOfMemory         the kernel killed the process
├── DeadlineExceeded     DeadlineExceeded    the stage took longer than it may
├── BaselineError        BaselineFailed      the source model does not run
├── ComparisonError      ExportFailed        outputs that cannot be compared
│   ├── ShapeMismatch        ExportFailed        another number or shape of outputs
│   │   └── EmptyOutput      ExportFailed        an output without a value
│   ├── NonFiniteOutput      ExportFailed        NaN or infinity in an output
│   ├── NotAnImage           InvalidSpec         SSIM of what is no image
│   ├── NoClasses            InvalidSpec         top-1 agreement of what has no classes
│   ├── NotEmbeddings        InvalidSpec         neighbor agreement of what are no vectors
│   └── ConflictingRange     InvalidSpec         two or no usable data range for a metric
├── StoreError
│   ├── ObjectNotFound       ObjectNotFound
│   ├── StoreAccessDenied    StoreAccessDenied
│   ├── StoreUnreachable     StoreUnreachable    a retry may help
│   └── DigestMismatch       DigestMismatch
├── RegistryError
│   ├── RegistryUnreachable  RegistryUnreachable    a retry may help
│   ├── RegistryAccessDenied RegistryAccessDenied   a retry may help
│   └── RegistryRefused      RegistryRefused        a retry may help
├── EndpointError        InternalError       a server does not answer as the protocol says
├── SigningKeyError      InvalidSigningKey   a key that cannot sign
├── ProofRefused         DigestMismatch      what is attached to an image does not hold
├── SandboxUnavailable   SandboxUnavailable  a model process cannot be enclosed on this machine
└── DiskError            OutOfDisk           a retry may help

Each carries the condition reason (mopt_api.reasons), which decides the exit code, whether a retry
helps, and the remedy. The message says what was wrong and where.
"""

from __future__ import annotations

from typing import ClassVar

from mopt_api.figures import VariantReason
from mopt_api.reasons import REASONS, Reason

MAX_VARIANT_MESSAGE = 1024
"""Characters of the message of a variant's failure, as result.json takes it."""


class OptimizerError(Exception):
    """Base of all errors that a user can act on."""

    reason: ClassVar[Reason] = Reason.INTERNAL_ERROR

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed later without a change."""
        return not REASONS[self.reason].permanent


class SpecError(OptimizerError):
    """A field of the plan asks for what is not possible."""

    reason = Reason.INVALID_SPEC


class BackendError(SpecError):
    """A quantization backend that PyTorch was built without; the message lists the others."""


class TensorRTNotInstalled(SpecError):
    """No usable TensorRT; the message says what was looked for, and how to install it."""


class UnservableForm(SpecError):
    """A form that a server cannot load, or not with the options it was measured with; the message
    says why, and what serves it."""


class DimensionError(OptimizerError):
    """Shapes or dimensions that the model does not have or does not accept."""

    reason = Reason.INVALID_DIMENSION


class ProfileViolation(DimensionError):
    """A shape or type of an input that an engine was not built for."""


class ModelError(OptimizerError):
    """The file is not a model of the named format, or is damaged."""

    reason = Reason.INVALID_MODEL


class NonFiniteWeight(ModelError):
    """A parameter holds NaN or infinity, in the source or in the narrower type asked for."""


class UnsafeModelError(ModelError):
    """Opening the file would run code that it carries."""

    reason = Reason.UNSAFE_MODEL


class NoUsableForm(ModelError):
    """No registered form of a model runs on this machine; the message says why for each."""


class UnusableEngine(ModelError):
    """A TensorRT engine that cannot be loaded here; the message says why, and what to do."""


class DamagedEngine(UnusableEngine):
    """An engine that is incomplete, or lacks its manifest."""


class EngineVersionMismatch(UnusableEngine):
    """An engine that was built by another TensorRT than the installed one."""


class DataError(OptimizerError):
    """Calibration or evaluation data that cannot be used."""

    reason = Reason.INVALID_DATA


class CalibrationError(DataError):
    """No samples, samples that the model does not take, or values that are not finite in it."""


class QuantizationError(OptimizerError):
    """A model that cannot be quantized: fails the variants that need it, not the Job."""


class ExportError(OptimizerError):
    """The model cannot be expressed in ONNX, or the export computes something else."""

    reason = Reason.EXPORT_FAILED


class OpsetError(ExportError):
    """The model cannot be written in the requested opset; the message names a possible one."""


class EngineBuildError(ExportError):
    """TensorRT cannot build an engine from the model; quotes its message."""


class ParserRefusal(EngineBuildError):
    """A node that TensorRT's parser does not support.

    Attributes:
        node: Its name in the ONNX file, empty where TensorRT names none.
        operator: Its ONNX operator, likewise.
    """

    def __init__(self, message: str, *, node: str = "", operator: str = "") -> None:
        super().__init__(message)
        self.node = node
        self.operator = operator


class EngineOutOfMemory(EngineBuildError):
    """The builder ran out of workspace, or of the GPU's memory."""


class GpuNotFound(OptimizerError):
    """No NVIDIA GPU that this process can use."""

    reason = Reason.ACCELERATOR_NOT_FOUND


class WrongGpu(GpuNotFound):
    """An engine that was built for other GPUs than this machine's."""


class EngineRunError(OptimizerError):
    """TensorRT failed while it ran an engine; quotes its message."""


class BaselineError(OptimizerError):
    """The source model does not run at the requested sizes."""

    reason = Reason.BASELINE_FAILED


class ComparisonError(OptimizerError):
    """Base: the outputs cannot be compared."""

    reason = Reason.EXPORT_FAILED


class ShapeMismatch(ComparisonError):
    """The number or shape of outputs differs from the reference's."""


class EmptyOutput(ShapeMismatch):
    """An empty output, whose quality is undefined."""


class NonFiniteOutput(ComparisonError):
    """An output holds NaN or infinity."""


class NotAnImage(ComparisonError):
    """SSIM is requested, but the output is not an image of at least 3 x 3 pixels."""

    reason = Reason.INVALID_SPEC


class NotDetections(ComparisonError):
    """Detections are asked for, and the outputs are no rows of boxes and scores."""

    reason = Reason.INVALID_SPEC


class NotSequences(ComparisonError):
    """Sequence agreement is asked for, and the output holds neither ids nor scores of ids."""

    reason = Reason.INVALID_SPEC


class NotEmbeddings(ComparisonError):
    """Neighbor agreement is asked for, and the output does not hold a vector a row."""

    reason = Reason.INVALID_SPEC


class NoClasses(ComparisonError):
    """Top-1 agreement is asked for, and the output has no axis of classes, or the labels do not
    fit it."""

    reason = Reason.INVALID_SPEC


class ConflictingRange(ComparisonError):
    """Gates name two data ranges for one metric, or a metric lacks a usable one."""

    reason = Reason.INVALID_SPEC


class SandboxUnavailable(OptimizerError):
    """The process that would open the model cannot be enclosed; says which wall is missing."""

    reason = Reason.SANDBOX_UNAVAILABLE


class EndpointError(OptimizerError):
    """A server of models does not answer, refuses, or answers something else than the protocol
    says; names its address."""


class SigningKeyError(OptimizerError):
    """The administrator's key is no unencrypted PEM key of a curve that can be used."""

    reason = Reason.INVALID_SIGNING_KEY


class ProofRefused(OptimizerError):
    """A signature, statement or object of an image is not what it must be; says in what."""

    reason = Reason.DIGEST_MISMATCH


class StoreError(OptimizerError):
    """Base of store errors."""


class ObjectNotFound(StoreError):
    """The bucket or object does not exist."""

    reason = Reason.OBJECT_NOT_FOUND


class StoreAccessDenied(StoreError):
    """The store refuses the credentials."""

    reason = Reason.STORE_ACCESS_DENIED


class StoreUnreachable(StoreError):
    """No answer, or the store is failing."""

    reason = Reason.STORE_UNREACHABLE


class DigestMismatch(StoreError):
    """The bytes do not match the requested digest."""

    reason = Reason.DIGEST_MISMATCH


class RegistryError(OptimizerError):
    """Base of errors of an OCI registry."""


class RegistryUnreachable(RegistryError):
    """No answer, none of a registry, or the registry is failing."""

    reason = Reason.REGISTRY_UNREACHABLE


class RegistryAccessDenied(RegistryError):
    """The registry rejects the credentials, or they may not push there; or there are none."""

    reason = Reason.REGISTRY_ACCESS_DENIED


class RegistryRefused(RegistryError):
    """The registry takes no uploads, or not this one."""

    reason = Reason.REGISTRY_REFUSED


class DiskError(OptimizerError):
    """The scratch volume is full."""

    reason = Reason.OUT_OF_DISK


class RuntimeFailure(OptimizerError):
    """A runtime rejects a model or its inputs, or fails to compute; quotes the runtime."""


class RunTimeout(RuntimeFailure):
    """A run did not end in the time that it was given."""


class OutOfMemory(RuntimeFailure):
    """A runtime runs out of memory of the device or the host."""

    reason = Reason.OUT_OF_MEMORY


class MemoryExceeded(OptimizerError):
    """A process was killed, which only the kernel does when memory runs out."""

    reason = Reason.OUT_OF_MEMORY


class DeadlineExceeded(OptimizerError):
    """A stage took longer than its Job may; says at which step it was."""

    reason = Reason.DEADLINE_EXCEEDED


class VariantFailure(Exception):
    """A variant ended without a result; the others continue.

    Attributes:
        reason: What the result says.
    """

    def __init__(self, reason: VariantReason, message: str) -> None:
        super().__init__(message[:MAX_VARIANT_MESSAGE])
        self.reason = reason


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message that is not empty; else its class."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)


def root_message(error: BaseException) -> str:
    """Return the first line of the error that an error was raised from, at the root."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)
