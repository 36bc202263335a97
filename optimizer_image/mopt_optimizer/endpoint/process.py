"""A server in the place of a variant's process: it computes samples, and its calls are timed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from mopt_api.figures import VariantReason
from mopt_optimizer.data.npy import load_array
from mopt_optimizer.errors import EndpointError, VariantFailure
from mopt_optimizer.quality import Array
from mopt_optimizer.stages.measure.messages import Explained
from mopt_optimizer.timing.interleave import time_calls

from .client import Answer, Ask, Client, Metadata, Times


class EndpointProcess:
    """As stages.measure.trial.Process: each call raises VariantFailure where the server fails.

    Attributes:
        times: What the server said of its time, for each call since bind.
    """

    engine = None

    def __init__(self, client: Client, model: str, metadata: Metadata) -> None:
        self._client = client
        self._model = model
        self._bound: dict[str, Ask] = {}
        self.output_names = [tensor.name for tensor in metadata.outputs]
        self.times: list[Times] = []

    def evaluate(self, feeds: Mapping[str, Path]) -> list[Array]:
        """Return one sample's outputs, in the order of the server's metadata."""
        with _failing():
            answer = self._asking(feeds)()
            return self._ordered(answer)

    def bind(self, point: str, feeds: Mapping[str, Path]) -> None:
        """Make the request of a point, and ask once."""
        with _failing():
            self._bound[point] = self._asking(feeds)
            self._bound[point]()
        self.times.clear()

    def take_turn(self, point: str, *, seconds: float, calls: int) -> list[int]:
        """Return the nanoseconds of each counted call: request, network, computation, answer."""
        ask = self._bound[point]

        def call() -> None:
            if (times := ask().times) is not None:
                self.times.append(times)

        with _failing():
            return time_calls(call, seconds=seconds, calls=calls)

    def release(self, point: str) -> None:
        """Forget a point's request."""
        del self._bound[point]

    def peak_memory_bytes(self) -> None:
        """Return None: it is not known."""

    def compile_seconds(self) -> float:
        """Return 0: it is not known."""
        return 0.0

    def explain(
        self,
        points: Mapping[str, Mapping[str, Sequence[int]]],  # noqa: ARG002
        feeds: Mapping[str, Path],  # noqa: ARG002
    ) -> Explained:
        """Return nothing: what a server executes is not known."""
        return Explained()

    def close(self) -> None:
        """Leave the server as it is."""

    def _asking(self, feeds: Mapping[str, Path]) -> Ask:
        arrays = {name: load_array(path) for name, path in feeds.items()}
        return self._client.asking(self._model, arrays)

    def _ordered(self, answer: Answer) -> list[Array]:
        if missing := [name for name in self.output_names if name not in answer.outputs]:
            raise EndpointError(f"{self._client.where} answers without output {missing[0]}")
        return [answer.outputs[name] for name in self.output_names]


@contextmanager
def _failing() -> Iterator[None]:
    try:
        yield
    except EndpointError as error:
        raise VariantFailure(VariantReason.CRASHED, str(error)) from error
