"""A runtime: ONNX's own reference evaluator, slow and exact."""

from __future__ import annotations

import onnx
from onnx.reference import ReferenceEvaluator

from mopt_api.enums import Precision, Runtime, TargetKind
from mopt_api.runtimes import RUNTIMES as ROWS
from mopt_api.runtimes import RuntimeInfo
from mopt_optimizer.errors import RuntimeFailure, first_line
from mopt_optimizer.runtimes.base import BoundCall, Feeds, Opening, Outputs, Runner, select_feeds
from mopt_optimizer.runtimes.registry import RUNTIMES, RuntimeSupport

REFERENCE = Runtime.add("Reference")
ROWS[REFERENCE] = RuntimeInfo(
    title="ONNX reference",
    libraries={"onnx": ("onnx",)},
    preparing=("onnx",),
    precisions=(Precision.FP32,),
    kinds=(TargetKind.CPU,),
)
RUNTIMES[REFERENCE] = RuntimeSupport(open=f"{__name__}:ReferenceRunner")


class ReferenceRunner(Runner):
    """An ONNX file, as text or binary, evaluated operator by operator in numpy."""

    def __init__(self, opening: Opening) -> None:
        try:
            if opening.path.suffix == ".onnxtxt":
                model = onnx.parser.parse_model(opening.path.read_text())
            else:
                model = onnx.load(opening.path)
            self._evaluator = ReferenceEvaluator(model)
        except (onnx.parser.ParseError, RuntimeError, ValueError) as error:
            raise RuntimeFailure(f"it cannot be opened: {first_line(error)}") from error

    def run(self, feeds: Feeds) -> Outputs:
        names = list(self._evaluator.input_names)
        arrays = select_feeds(names, feeds, "ONNX reference")
        found = self._evaluator.run(None, dict(zip(names, arrays, strict=True)))
        return dict(zip(self._evaluator.output_names, found, strict=True))

    def bind(self, feeds: Feeds) -> BoundCall:
        def call() -> None:
            self.run(feeds)

        return call
