"""A runtime as an extension brings it: it multiplies each input by the number in its file."""

from __future__ import annotations

from mopt_api.enums import Precision, Runtime, TargetKind
from mopt_api.runtimes import RuntimeInfo
from mopt_optimizer.errors import RuntimeFailure
from mopt_optimizer.runtimes import BoundCall, Feeds, Opening, Outputs, Runner
from mopt_optimizer.runtimes.registry import RuntimeSupport

TOY = Runtime.add("Toy")
INFO = RuntimeInfo(
    title="Toy",
    libraries={"toy_runtime": ("toy-runtime",)},
    precisions=(Precision.FP32,),
    kinds=(TargetKind.CPU,),
    quantized=(),
)
SUPPORT = RuntimeSupport(
    open="toy_runtime:ToyRunner",
    environment={"TOY_MODE": "exact"},
    thread_variables=("TOY_THREADS",),
    cache_variable="TOY_CACHE",
)


class ToyRunner(Runner):
    """A number that multiplies."""

    def __init__(self, opening: Opening) -> None:
        try:
            self._factor = float(opening.path.read_text())
        except ValueError as error:
            raise RuntimeFailure(f"Toy cannot open the model: {error}") from error

    def run(self, feeds: Feeds) -> Outputs:
        return {name: array * self._factor for name, array in feeds.items()}

    def bind(self, feeds: Feeds) -> BoundCall:
        def call() -> None:
            self.run(feeds)

        return call
