"""A quantized model: called like the one it came from, saved without pickles."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from torch import fx
from torch.export import ExportedProgram

from mopt_optimizer.digests import file_digest
from mopt_optimizer.errors import DataError, DigestMismatch, ModelError, SpecError, first_line
from mopt_optimizer.opening.loading import load_exported_program
from mopt_optimizer.opening.programs import write_program
from mopt_optimizer.opening.safety import rewrite_pt2
from mopt_optimizer.store.writing import disk_errors, replacing

from .capturing import quiet
from .config import Execution
from .executing import Executor
from .int8 import expand_weights
from .reports import QuantizationReport
from .sampling import Args, positional

FORMAT = "mopt-quantized/1"
MAX_MANIFEST_BYTES = 4 * 1024 * 1024

Made = tuple[ExportedProgram, QuantizationReport]


class Manifest(BaseModel):
    """What stands beside a saved model, in NAME.pt2.json.

    Attributes:
        digest: sha256:HEX of the .pt2.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: str
    digest: str
    report: QuantizationReport


class QuantizedModel:
    """Takes and returns what the model did that it was made from.

    Where no inputs were at hand (DYNAMIC, FP16 or BF16 without calibration data) the graph is made
    on the first call, from that call's inputs.
    """

    def __init__(
        self, names: list[str], execution: Execution, make: Callable[[Args], Made] | None = None
    ) -> None:
        """Wrap what is made from the first inputs, unless adopt() gives it before."""
        self._names = names
        self._make = make
        self._execution = execution
        self._lock = threading.Lock()
        self._program: ExportedProgram | None = None
        self._report: QuantizationReport | None = None
        self._executor: Executor | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the model's outputs for its inputs, by position or by name, without gradients.

        Raises:
            DataError: Other inputs than the model's.
            QuantizationError: Execution.COMPILE, and it cannot be compiled.
        """
        if len(args) > len(self._names):
            raise DataError(f"{len(args)} inputs; the model takes {', '.join(self._names)}")
        sample = {**dict(zip(self._names, args, strict=False)), **kwargs} if kwargs else args
        tensors = positional(sample, self._names, "the call", DataError)
        with self._lock:
            if self._executor is None and self._make is not None:
                self.adopt(self._make(tensors))
        if self._executor is None:
            raise self._not_made("graph")
        return self._executor(tensors)

    def adopt(self, made: Made) -> None:
        """Take a finished graph as this model's."""
        self._program, self._report = made
        self._names = [str(name) for name in self._program.graph_signature.user_inputs]
        self._make = None
        with quiet():
            module = self._program.module()
        if isinstance(module, fx.GraphModule):
            expand_weights(module)
        what = f"the {self._report.quantization_type.upper()} model"
        self._executor = Executor(module, self._execution, what)

    @property
    def program(self) -> ExportedProgram:
        """The graph.

        Raises:
            SpecError: It is not made yet.
        """
        if self._program is None:
            raise self._not_made("graph")
        return self._program

    @property
    def report(self) -> QuantizationReport:
        """What was quantized.

        Raises:
            SpecError: Nothing yet: no inputs were seen.
        """
        if self._report is None:
            raise self._not_made("report")
        return self._report

    def _not_made(self, what: str) -> SpecError:
        return SpecError(
            f"the {what} does not exist yet: call the model once, or give quantize() inputs as "
            "calibration data"
        )

    @property
    def compiled(self) -> bool:
        """Whether calls run compiled; False before the first."""
        return self._executor is not None and self._executor.compiled

    @property
    def fallback_reason(self) -> str | None:
        """Why it runs eager though it should be compiled; None where it does not."""
        return self._executor.fallback_reason if self._executor else None

    def save(self, path: str | Path) -> str:
        """Write NAME.pt2 and, beside it, NAME.pt2.json with its digest and the report.

        Returns:
            sha256:HEX of the .pt2.

        Raises:
            SpecError: The name does not end in .pt2, or no inputs were seen yet.
            DiskError: No space; nothing half-written is left.
        """
        path = Path(path)
        if path.suffix != ".pt2":
            raise SpecError(f"{path}: the name must end in .pt2")
        program, report = self.program, self.report
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=path.parent, prefix=".saving-") as folder:
            written = Path(folder) / path.name
            save_program(program, written)
            manifest = Manifest(format=FORMAT, digest=file_digest(written), report=report)
            os.replace(written, path)
        with disk_errors(str(path)), replacing(_manifest_path(path)) as temporary:
            temporary.write_text(manifest.model_dump_json(indent=2), encoding="utf-8")
        return manifest.digest

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        digest: str | None = None,
        execution: Execution = Execution.AUTO,
    ) -> QuantizedModel:
        """Open what save() wrote. The bytes are checked before torch opens them.

        Args:
            digest: Of the .pt2, where it is known from elsewhere: whoever can change the file
                can change the one beside it.

        Raises:
            DigestMismatch: The .pt2 is not the one that was saved.
            UnsafeModelError: Opening it would run code that it carries.
            ModelError: Not a saved model, or damaged.
        """
        # Registers the operators quantize_per_tensor and its like.
        import torch.ao.quantization.fx._decomposed  # noqa: F401

        path = Path(path)
        manifest = _read_manifest(path)
        found = file_digest(path)
        for expected in (digest, manifest.digest):
            if expected is not None and found != expected:
                raise DigestMismatch(f"{path} has the digest {found}, expected is {expected}")
        with TemporaryDirectory(prefix="mopt-load-") as folder:
            program = load_exported_program(path, Path(folder))
        model = cls([], execution)
        model.adopt((program, manifest.report))
        return model


def save_program(program: ExportedProgram, path: Path) -> None:
    """Write a program, checked as on loading and without the example inputs: they are user data.

    Raises:
        ModelError: It could not be loaded again.
        DiskError: No space.
    """
    with TemporaryDirectory(dir=path.parent, prefix=".saving-") as folder:
        unchecked = Path(folder) / "model.pt2"
        with quiet():
            write_program(program, unchecked)
        rewrite_pt2(unchecked, path)


def _manifest_path(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _read_manifest(path: Path) -> Manifest:
    beside = _manifest_path(path)
    for file in (path, beside):
        if not file.is_file():
            raise ModelError(f"{file} is missing; a saved model is NAME.pt2 and NAME.pt2.json")
    if (size := beside.stat().st_size) > MAX_MANIFEST_BYTES:
        raise ModelError(f"{beside} has {size} bytes, more than the {MAX_MANIFEST_BYTES} taken")
    try:
        manifest = Manifest.model_validate_json(beside.read_bytes())
    except ValidationError as error:
        raise ModelError(f"{beside} is no manifest of ours: {first_line(error)}") from error
    if manifest.format != FORMAT:
        raise ModelError(f"{beside} has the format {manifest.format!r}; {FORMAT} is read")
    return manifest
