"""TensorRT: opening a typed ONNX file builds an engine, which is then run."""

from __future__ import annotations

import tempfile
from pathlib import Path

from mopt_optimizer.errors import EngineOutOfMemory, OptimizerError, OutOfMemory, RuntimeFailure
from mopt_optimizer.opening.loading import onnx_file
from mopt_optimizer.runtimes.base import BoundCall, Feeds, Opening, Outputs, Runner, failure

from . import EngineRunner, TensorRTOptimizer, load_engine
from .plan import engine_config

_NAME = "TensorRT"
ENGINE_FILE = "model.engine"


def open_engine(opening: Opening) -> TensorRTRunner:
    """Build an engine in a folder next to the file and keep it there to be served.

    Raises:
        RuntimeFailure: No TensorRT or GPU, or TensorRT rejects the model; OutOfMemory if GPU memory
            runs out.
    """
    folder = opening.workdir
    engine = Path(tempfile.mkdtemp(dir=folder, prefix="engine-")) / ENGINE_FILE
    try:
        optimizer = TensorRTOptimizer(engine_config(opening.precision))
        with tempfile.TemporaryDirectory(dir=folder) as unpacked:
            onnx = onnx_file(opening.path, Path(unpacked) / "unpacked")
            optimizer.build_typed(onnx, engine, opening.shapes)
        return TensorRTRunner(EngineRunner(load_engine(engine)), engine)
    except OptimizerError as error:
        raise _failure(error, "gives no engine") from error


class TensorRTRunner(Runner):
    """An engine with one execution context."""

    def __init__(self, runner: EngineRunner, engine: Path) -> None:
        self._runner = runner
        self.engine = engine
        self._shapes: object = None

    def run(self, feeds: Feeds) -> Outputs:
        try:
            self._shapes = None
            return dict(self._runner(feeds))
        except OptimizerError as error:
            raise _failure(error, "cannot run the engine") from error

    def bind(self, feeds: Feeds) -> BoundCall:
        runner, own = self._runner, object()

        def call() -> None:
            try:
                # The context is shared: another point, or an evaluation, may have set other shapes.
                if self._shapes is not own:
                    runner.set_shapes(feeds)
                    self._shapes = own
                runner.upload(feeds)
                runner.enqueue()
                runner.download()
                runner.memory.synchronize()
            except OptimizerError as error:
                raise _failure(error, "cannot run the engine") from error

        call()
        return call


def _failure(error: OptimizerError, what: str) -> RuntimeFailure:
    message = f"{_NAME} {what}: {error}"
    if isinstance(error, EngineOutOfMemory):
        return OutOfMemory(message)
    return failure(message)
