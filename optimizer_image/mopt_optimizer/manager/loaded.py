"""A loaded form: called with numpy arrays or torch tensors, at once or from async code."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mopt_optimizer.data.arrays import check_arrays
from mopt_optimizer.errors import DataError, ModelError, SpecError
from mopt_optimizer.opening.inputs import ModelInput
from mopt_optimizer.runtimes import Runner, RuntimeFailure

from .choosing import Attempt, Optimization
from .manifest import Form


class LoadedModel:
    """A form of a model, ready to compute. A context manager; close() frees the runtime.

    Calls may come from several threads; they compute one after the other.

    Attributes:
        form: What was loaded.
        requested: What was asked for.
        step: The step of the fallback order that it was found at.
        reason: Why this form, in words; what stood before it included.
        tried: Every form that was looked at, in order, with what became of it.
        inputs: The model's inputs, in order.
    """

    def __init__(
        self,
        form: Form,
        runner: Runner,
        inputs: Sequence[ModelInput],
        *,
        requested: Optimization,
        step: Optimization,
        reason: str,
        tried: Sequence[Attempt],
    ) -> None:
        self.form = form
        self.requested = requested
        self.step = step
        self.reason = reason
        self.tried = tuple(tried)
        self.inputs = tuple(inputs)
        self._runner: Runner | None = runner
        self._lock = threading.Lock()

    @property
    def fell_back(self) -> bool:
        """Whether something else than what was asked for had to do."""
        return self.step is not self.requested

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return the outputs by name, in the model's order.

        Args:
            feeds: One array per input, by name; types as the model has them.

        Raises:
            DataError: An input is missing, unknown, or of another type or rank.
            DimensionError: A size that the model does not take.
            ModelError: The runtime fails in computing.
            SpecError: The model was closed.
        """
        arrays = {name: np.asarray(array) for name, array in feeds.items()}
        names = [i.name for i in self.inputs]
        if set(arrays) != set(names):
            raise DataError(f"fed {', '.join(arrays) or 'nothing'}; the inputs are {names}")
        # Values are the model's business, and looking at each would cost time in every call.
        check_arrays("call", arrays, self.inputs, values=False)
        with self._lock:
            if self._runner is None:
                raise SpecError(f"{self.form} was closed; load the model again")
            try:
                return self._runner.run(arrays)
            except RuntimeFailure as error:
                raise ModelError(f"{self.form}: {error}") from error

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Compute: inputs in order or by name; torch tensors in, torch tensors out.

        Returns:
            The output, or a tuple of them where the model has several: numpy arrays, or tensors
            on the CPU where any input was a tensor.

        Raises:
            As run.
        """
        names = [i.name for i in self.inputs]
        if len(args) > len(names):
            raise DataError(f"{len(args)} inputs given, the model takes {len(names)}: {names}")
        given = dict(zip(names, args, strict=False))
        if twice := sorted(given.keys() & kwargs.keys()):
            raise DataError(f"input {twice[0]} is given twice, by position and by name")
        given |= kwargs
        # Without torch loaded nothing can be its tensor.
        torch = sys.modules.get("torch")
        tensors = torch is not None and any(isinstance(v, torch.Tensor) for v in given.values())
        feeds = {
            name: value.detach().cpu().numpy()
            if torch is not None and isinstance(value, torch.Tensor)
            else np.asarray(value)
            for name, value in given.items()
        }
        outputs: list[Any] = list(self.run(feeds).values())
        if tensors and torch is not None:
            outputs = [torch.from_numpy(np.ascontiguousarray(output)) for output in outputs]
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        """Compute in a worker thread, so that the event loop goes on; as a plain call."""
        return await asyncio.to_thread(self, *args, **kwargs)

    def close(self) -> None:
        """Free the runtime's resources; harmless when done twice."""
        with self._lock:
            if self._runner is not None:
                self._runner.__exit__(None, None, None)
                self._runner = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<LoadedModel {self.form}: {self.reason}>"
