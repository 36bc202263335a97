"""A loaded form: called with numpy arrays or torch tensors, from plain or async code."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mopt_optimizer.data.declared import check_arrays
from mopt_optimizer.errors import DataError, ModelError, SpecError
from mopt_optimizer.opening.inputs import ModelInput
from mopt_optimizer.runtimes import Runner, RuntimeFailure

from .choosing import Attempt, Optimization
from .manifest import Form


class LoadedModel:
    """A form of a model, ready for inference. A context manager; close() frees the runtime.

    Thread-safe: calls from several threads are serialized.

    Attributes:
        form: The loaded form.
        requested: The requested optimization.
        step: The step of the fallback order at which the form was found.
        reason: Why this form was selected, and why those before it were not.
        tried: Every form considered, in order, with its outcome.
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
        """Whether a fallback was loaded in place of what was requested."""
        return self.step is not self.requested

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return the outputs by name, in the model's order.

        Args:
            feeds: One array per input, by name, in the model's dtypes and shapes.

        Raises:
            DataError: An input is missing, unknown, empty, or of the wrong dtype or rank.
            DimensionError: A size that the model does not accept.
            ModelError: The runtime fails to compute.
            SpecError: The model is closed.
        """
        arrays = {name: np.asarray(array) for name, array in feeds.items()}
        names = [i.name for i in self.inputs]
        if set(arrays) != set(names):
            raise DataError(f"fed {', '.join(arrays) or 'nothing'}; the inputs are {names}")
        # NaN and infinity are up to the model; checking every value would slow down each call.
        check_arrays("call", arrays, self.inputs, values=False)
        with self._lock:
            if self._runner is None:
                raise SpecError(f"{self.form} was closed; load the model again")
            try:
                return self._runner.run(arrays)
            except RuntimeFailure as error:
                raise ModelError(f"{self.form}: {error}") from error

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run on inputs given in order or by name; torch tensors in, torch tensors out.

        Returns:
            The output, or a tuple of outputs if the model has several: numpy arrays, or CPU
            tensors if any input was a tensor.

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
        # If torch is not imported, no input can be a tensor.
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
        """Call in a worker thread, without blocking the event loop; otherwise as __call__."""
        return await asyncio.to_thread(self, *args, **kwargs)

    def close(self) -> None:
        """Free the runtime's resources. Idempotent."""
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
