"""Triton's backends: which file each loads, and how it is told the options that were measured.

As the backends' README files and sources of 2026 have it. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from mopt_api.artifacts import ArtifactFormat
from mopt_api.enums import ExecutionProvider, Precision, Runtime
from mopt_optimizer.errors import UnservableForm
from mopt_optimizer.runtimes.onnx_runtime.settings import SessionSettings, profile_options
from mopt_optimizer.runtimes.openvino import settings as openvino
from mopt_optimizer.runtimes.tensorrt.backends import BackendName
from mopt_optimizer.serving.form import ServedForm

from .pbtxt import Field


class Backend:
    """One backend.

    Attributes:
        name, platform: As config.pbtxt names it; an empty platform is left out.
        file_name: Of the model's file.
        default_file: Whether the backend looks for that name by itself.
        batches: Whether it takes batches of any size up to max_batch_size.
    """

    name = ""
    platform = ""
    file_name = ""
    default_file = True
    batches = True

    def check(self, form: ServedForm) -> None:
        """Refuse a form that it does not load as it was measured.

        Raises:
            UnservableForm
        """

    def options(self, form: ServedForm) -> Sequence[Field]:  # noqa: ARG002 - of those that have
        """Return further fields of config.pbtxt."""
        return ()

    def parameters(self, form: ServedForm) -> dict[str, str]:  # noqa: ARG002 - likewise
        """Return the backend's parameters."""
        return {}

    def lost(self, form: ServedForm) -> Sequence[str]:  # noqa: ARG002 - likewise
        """Return the measured options that it has no parameter for."""
        return ()

    def output_name(self, number: int, name: str) -> str:  # noqa: ARG002 - likewise
        """Return what clients call an output, counted from 0."""
        return name


class OnnxRuntimeBackend(Backend):
    """ONNX Runtime; all graph optimizations are its level 0."""

    name = "onnxruntime"
    platform = "onnxruntime_onnx"
    file_name = "model.onnx"

    def check(self, form: ServedForm) -> None:
        if form.options.provider is ExecutionProvider.TENSORRT and form.precision is Precision.INT8:
            raise UnservableForm(
                f"{form.title} was measured with kernels of INT8 and FP16 both, and Triton's "
                "config.pbtxt names one precision_mode for the TensorRT provider: choose a variant "
                "of runtime TensorRT, or of another provider"
            )

    def options(self, form: ServedForm) -> Sequence[Field]:
        optimization: dict[str, object] = {"graph": {"level": 0}}
        if form.options.provider is ExecutionProvider.CUDA:
            optimization["execution_accelerators"] = {"gpu_execution_accelerator": {"name": "cuda"}}
        elif form.options.provider is ExecutionProvider.TENSORRT:
            optimization["execution_accelerators"] = {
                "gpu_execution_accelerator": _tensorrt_accelerator(form)
            }
        return [("optimization", optimization)]

    def parameters(self, form: ServedForm) -> dict[str, str]:
        settings = SessionSettings(form.options.threads)
        threads = settings.intra_op_threads
        return {
            **({} if threads is None else {"intra_op_thread_count": str(threads)}),
            "inter_op_thread_count": str(settings.inter_op_threads),
            "execution_mode": str(int(not settings.sequential)),
        }

    def lost(self, form: ServedForm) -> Sequence[str]:
        spinning = int(SessionSettings(form.options.threads).spinning)
        return [f"session.intra_op.allow_spinning {spinning}"]


def _tensorrt_accelerator(form: ServedForm) -> dict[str, object]:
    values = {
        "precision_mode": "FP16" if form.precision is Precision.FP16 else "FP32",
        "trt_engine_cache_enable": "false",
        **profile_options(form.options.shapes),
    }
    return {
        "name": "tensorrt",
        "parameters": [{"key": key, "value": value} for key, value in values.items()],
    }


class OpenVinoBackend(Backend):
    """OpenVINO; with max_batch_size it fixes the model to that batch, so it gets none."""

    name = "openvino"
    file_name = "model.onnx"
    default_file = False
    batches = False

    _PASSED = (openvino.THREADS, openvino.STREAMS, openvino.PERFORMANCE_HINT)

    def check(self, form: ServedForm) -> None:
        if form.options.native_bf16 and not form.uses_bf16:
            raise UnservableForm(
                f"{form.title} was measured with {openvino.PRECISION_HINT} f32, which Triton's "
                "OpenVINO backend cannot set; on the CPU it was measured on, that would compute "
                "in bf16 instead: use --as ovms, which sets it"
            )

    def parameters(self, form: ServedForm) -> dict[str, str]:
        properties = self._properties(form)
        bf16 = {"HINT_BF16": "YES"} if form.uses_bf16 else {}
        passed = {key: properties[key] for key in self._PASSED if key in properties}
        return {"TARGET_DEVICE": openvino.DEVICE, **bf16, **passed}

    def lost(self, form: ServedForm) -> Sequence[str]:
        passed = [*self._PASSED]
        if form.uses_bf16:
            passed.append(openvino.PRECISION_HINT)
        properties = self._properties(form).items()
        return [f"{key} {value}" for key, value in properties if key not in passed]

    @staticmethod
    def _properties(form: ServedForm) -> dict[str, str]:
        """Return those of one of Triton's instances, each of which compiles the model for itself:
        a stream of those that were measured."""
        return openvino.properties(
            form.precision, form.options.threads, float_precision=form.float_precision
        )


class PyTorchBackend(Backend):
    """TorchScript. Exported programs it does not load: only what AOTInductor compiled of them."""

    name = "pytorch"
    platform = "pytorch_libtorch"
    file_name = "model.pt"

    def check(self, form: ServedForm) -> None:
        if form.artifact.format is not ArtifactFormat.TORCH_SCRIPT:
            raise UnservableForm(
                f"{form.title} is a program of torch.export (.pt2), and Triton's PyTorch backend "
                "loads TorchScript, or what AOTInductor compiled, which was not measured: choose a "
                "variant of another runtime, or take the file with --as files and serve it by "
                "ModelManager"
            )

    def parameters(self, form: ServedForm) -> dict[str, str]:
        threads = form.options.threads
        counted = {} if threads is None else {"INTRA_OP_THREAD_COUNT": str(threads)}
        return {"INFERENCE_MODE": "true", **counted}

    def output_name(self, number: int, name: str) -> str:  # noqa: ARG002 - see the base
        # TorchScript names no outputs; this name says which one of them it is.
        return f"OUTPUT__{number}"


class TensorRTBackend(Backend):
    """TensorRT's engines."""

    name = "tensorrt"
    platform = "tensorrt_plan"
    file_name = "model.plan"

    def check(self, form: ServedForm) -> None:
        if form.engine is not None and form.engine.backend is not BackendName.TENSORRT:
            raise UnservableForm(
                f"{form.title} is an engine of TensorRT for RTX, which Triton does not load: "
                "choose another variant, or take it with --as files and serve it by ModelManager"
            )

    def lost(self, form: ServedForm) -> Sequence[str]:
        if form.engine is None:
            return ()
        version = f"built by TensorRT {form.engine.tensorrt_version}, which Triton must have"
        if form.engine.version_compatible:
            newer = "--backend-config=tensorrt,version-compatible=true"
            return [f"{version}, or a newer one with {newer}"]
        return [version]


_BACKENDS: dict[Runtime, Backend] = {
    Runtime.ONNX_RUNTIME: OnnxRuntimeBackend(),
    Runtime.OPENVINO: OpenVinoBackend(),
    Runtime.PYTORCH: PyTorchBackend(),
    Runtime.TENSORRT: TensorRTBackend(),
}


def backend_of(form: ServedForm) -> Backend:
    """Return the backend that loads a form.

    Raises:
        UnservableForm: None does, as it was measured.
    """
    backend = _BACKENDS.get(form.runtime)
    if backend is None:
        raise UnservableForm(
            f"{form.title}: mopt knows no backend of Triton's for {form.runtime}; take the file "
            "with --as files"
        )
    backend.check(form)
    return backend
