"""ENGINE.json next to an engine: what it is and needs. Reading it loads no TensorRT."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, ValidationError

from mopt_api.artifacts import ENGINE_MANIFEST_SUFFIX
from mopt_api.base import Digest, ObservedModel
from mopt_api.enums import Precision
from mopt_optimizer.digests import file_digest
from mopt_optimizer.errors import (
    DamagedEngine,
    DigestMismatch,
    EngineVersionMismatch,
    GpuNotFound,
    UnusableEngine,
    WrongGpu,
)
from mopt_optimizer.machine.nvidia_gpus import Gpu
from mopt_optimizer.store.writing import disk_errors, replacing

from .backends import Backend, BackendName
from .config import HardwareCompatibility
from .profiles import ShapeProfile, Tensor

SCHEMA_VERSION = 1
_MAX_BYTES = 16 * 1024 * 1024
_AMPERE = (8, 0)


class TensorEntry(ObservedModel):
    """An input or output; only inputs have profiles."""

    name: str
    dtype: str = Field(description="As numpy names it.")
    shape: list[int] = Field(description="-1 where it is free.")
    minimum: list[int] | None = None
    optimum: list[int] | None = None
    maximum: list[int] | None = None

    @classmethod
    def of(cls, tensor: Tensor, profile: ShapeProfile | None = None) -> TensorEntry:
        """Return the entry of a network's tensor."""
        shapes = (
            {key: list(getattr(profile, key)) for key in ("minimum", "optimum", "maximum")}
            if profile
            else {}
        )
        return cls.model_validate(
            {"name": tensor.name, "dtype": tensor.dtype, "shape": list(tensor.shape), **shapes}
        )

    @property
    def profile(self) -> ShapeProfile | None:
        """The shapes that an input may have; None for an output."""
        if self.minimum is None or self.optimum is None or self.maximum is None:
            return None
        return ShapeProfile(tuple(self.minimum), tuple(self.optimum), tuple(self.maximum))


class EngineManifest(ObservedModel):
    """Metadata of an engine, recorded when it is written."""

    schema_version: int = Field(default=SCHEMA_VERSION, ge=1)
    digest: Digest
    size_bytes: int = Field(ge=1)
    backend: BackendName
    tensorrt_version: str = Field(max_length=64)
    version_compatible: bool = False
    hardware_compatibility: HardwareCompatibility = HardwareCompatibility.NONE
    compute_capabilities: list[str] = Field(
        default=[], description="Of the GPUs it was built for; empty where TensorRT chose them."
    )
    gpu: str | None = Field(default=None, description="It was built on; None without one.")
    cuda: str | None = Field(default=None, description="Of the driver it was built with.")
    driver: str | None = Field(default=None, description="NVIDIA's, likewise; None without NVML.")
    precision: Precision
    tf32: bool
    inputs: list[TensorEntry] = Field(min_length=1)
    outputs: list[TensorEntry] = Field(min_length=1)
    layer_datatypes: dict[str, int] = Field(
        default={}, description="How many layers read each type, as the builder listed them."
    )
    source_digest: Digest = Field(description="Of the source ONNX file.")


def manifest_path(engine: Path) -> Path:
    """Return the path of an engine's manifest."""
    return engine.with_name(engine.name + ENGINE_MANIFEST_SUFFIX)


def write_engine(path: Path, data: bytes, manifest: EngineManifest) -> None:
    """Write an engine and its manifest, each atomically, the engine last.

    Raises:
        DiskError: No space left.
    """
    text = json.dumps(manifest.model_dump(mode="json", by_alias=True), indent=2) + "\n"
    beside = manifest_path(path)
    with disk_errors(str(beside)), replacing(beside) as temporary:
        temporary.write_text(text)
    with disk_errors(str(path)), replacing(path) as temporary:
        temporary.write_bytes(data)


def read_manifest(engine: Path) -> EngineManifest:
    """Return an engine's manifest.

    Raises:
        DamagedEngine: It is missing or damaged.
        UnusableEngine: A newer mopt wrote it.
    """
    path = manifest_path(engine)
    if not path.is_file():
        raise DamagedEngine(
            f"{engine.name} has no manifest {path.name} beside it, which tells what it needs; "
            "copy both, or build it with TensorRTOptimizer"
        )
    if path.stat().st_size > _MAX_BYTES:
        raise DamagedEngine(f"{path.name} has {path.stat().st_size} bytes: it is no manifest")
    try:
        raw = json.loads(path.read_bytes())
        if isinstance(raw, dict) and int(raw.get("schemaVersion", 1)) > SCHEMA_VERSION:
            raise UnusableEngine(
                f"{path.name} is of schema {raw['schemaVersion']}; this mopt knows "
                f"{SCHEMA_VERSION}: take a newer one, or build the engine again"
            )
        return EngineManifest.model_validate(raw)
    except (ValueError, TypeError) as error:
        problem = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise DamagedEngine(f"{path.name} is damaged: {problem}; build the engine again") from error


def check_bytes(engine: Path, manifest: EngineManifest) -> None:
    """Check an engine's bytes against its manifest, before anything loads them.

    An engine is code: TensorRT executes it.

    Raises:
        DamagedEngine: Missing, or of another size.
        DigestMismatch: Other bytes.
    """
    if not engine.is_file():
        raise DamagedEngine(f"{engine} does not exist; build it, or copy it beside its manifest")
    size = engine.stat().st_size
    if size != manifest.size_bytes:
        kind = "truncated" if size < manifest.size_bytes else "not what was written"
        raise DamagedEngine(
            f"{engine.name} is {kind}: {size} of {manifest.size_bytes} bytes; copy or build it "
            "again"
        )
    digest = file_digest(engine)
    if digest != manifest.digest:
        raise DigestMismatch(
            f"{engine.name} is {digest}, its manifest says {manifest.digest}: it was changed "
            "after it was built; do not load it, build it again"
        )


def check_fits(name: str, manifest: EngineManifest, backend: Backend, gpus: Sequence[Gpu]) -> None:
    """Check from its manifest whether an engine can run here.

    Args:
        name: The engine's, for messages.
        gpus: This machine's; the first is used.

    Raises:
        EngineVersionMismatch: Another TensorRT.
        GpuNotFound, WrongGpu: No GPU, or not one that it was built for.
    """
    check_version(name, manifest, backend)
    check_gpu(name, manifest, gpus)


def check_version(name: str, manifest: EngineManifest, backend: Backend) -> None:
    """Check the installed TensorRT against the one that built an engine.

    Raises:
        EngineVersionMismatch: They are not compatible.
    """
    built, here = manifest.tensorrt_version, backend.version
    if manifest.backend is not backend.name:
        raise EngineVersionMismatch(
            f"{name} was built by {manifest.backend} {built}, here is {backend.name} {here}; "
            f"install {manifest.backend} {built}, or build it again"
        )
    if built != here and not (manifest.version_compatible and _newer(here, built)):
        raise EngineVersionMismatch(
            f"{name} was built by {manifest.backend} {built}, here is {here}; install that "
            "version, or build it again"
        )


def check_gpu(name: str, manifest: EngineManifest, gpus: Sequence[Gpu]) -> None:
    """Check this machine's first GPU against those an engine was built for.

    Raises:
        GpuNotFound, WrongGpu.
    """
    if not gpus:
        raise GpuNotFound(
            f"{name} needs an NVIDIA GPU, and the driver shows none; run it where one is, with "
            "its driver visible to this process"
        )
    if not _suits(manifest, gpus[0]):
        targets = manifest.gpu or f"compute capability {', '.join(manifest.compute_capabilities)}"
        raise WrongGpu(f"{name} was built for {targets}, here is {gpus[0]}; build it for this GPU")


def _newer(here: str, built: str) -> bool:
    """Return whether `here` has the same major version as `built` and is not older."""
    ours, theirs = _numbers(here), _numbers(built)
    return ours[:1] == theirs[:1] and ours >= theirs


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _suits(manifest: EngineManifest, gpu: Gpu) -> bool:
    if manifest.hardware_compatibility is HardwareCompatibility.AMPERE_PLUS:
        return _numbers(gpu.compute_capability) >= _AMPERE
    # Same capability, other GPU model: TensorRT loads it and warns that it may be slower.
    return not manifest.compute_capabilities or (
        gpu.compute_capability in manifest.compute_capabilities
    )
