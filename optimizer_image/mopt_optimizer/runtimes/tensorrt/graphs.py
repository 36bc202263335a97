"""CUDA graphs: an inference at unchanged shapes is one launch instead of one per kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mopt_optimizer.errors import EngineRunError

from .memory import DeviceMemory, GraphRefused


class ReplayedInference:
    """Queues an inference: through TensorRT the first time, from a CUDA graph afterwards.

    Attributes:
        refused: Why there is no graph, and never will be; None if capture has not failed.
    """

    def __init__(
        self,
        memory: DeviceMemory[Any],
        queue: Callable[[], None],
    ) -> None:
        """Prepare.

        Args:
            memory: Records and replays.
            queue: Queues one inference on the memory's stream; raises EngineRunError.
        """
        self._memory, self._queue = memory, queue
        self._replay: Callable[[], None] | None = None
        self.refused: str | None = None

    @property
    def captured(self) -> bool:
        """Whether the next inference is replayed."""
        return self._replay is not None

    def forget(self) -> None:
        """Drop the graph: sizes or addresses have changed."""
        self._replay = None

    def __call__(self) -> None:
        """Queue one inference.

        Raises:
            EngineRunError: TensorRT refuses.
        """
        if self._replay is not None:
            self._replay()
            return
        # TensorRT needs one run at new shapes before capture; it also gives the results.
        self._queue()
        if self.refused is None:
            try:
                self._replay = self._memory.capture(self._queue)
            except (GraphRefused, EngineRunError) as error:
                self.refused = str(error)
