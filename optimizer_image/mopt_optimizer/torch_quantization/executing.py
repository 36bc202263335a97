"""Runs a captured graph compiled by Inductor, or eager, and says which."""

from __future__ import annotations

import logging
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from mopt_optimizer.errors import QuantizationError, first_line

from .capturing import quiet
from .config import Execution
from .sampling import Args

logger = logging.getLogger(__name__)

# Each new set of sizes is compiled for itself, which is fastest; after that many, once for all.
MAX_SPECIALIZED = 4
_RECOMPILES = 64


class Executor:
    """Calls a module on positional tensors, without gradients. Thread-safe.

    Attributes:
        fallback_reason: Why AUTO runs eager; None while it is compiled or eager was asked for.
        compile_seconds: Spent on first calls of new sizes so far: compiling, and one run.
    """

    def __init__(self, module: nn.Module, execution: Execution, what: str) -> None:
        """Wrap a module.

        Args:
            what: What the log calls it.
        """
        self._module = module
        self._execution = execution
        self._what = what
        self._lock = threading.Lock()
        self._compiled: dict[tuple[object, ...], Callable[..., Any]] = {}
        self._general: Callable[..., Any] | None = None
        self.fallback_reason: str | None = None
        self.compile_seconds = 0.0

    @property
    def compiled(self) -> bool:
        """Whether the last new sizes were compiled; False before the first call."""
        return bool(self._compiled) and self.fallback_reason is None

    def __call__(self, args: Args) -> Any:
        """Return the module's outputs.

        Raises:
            QuantizationError: COMPILE was asked for, and it cannot be compiled.
        """
        with torch.no_grad():
            if self._execution is Execution.EAGER or self.fallback_reason is not None:
                return self._module(*args)
            key = tuple((tuple(a.shape), a.dtype) for a in args)
            if (ready := self._compiled.get(key)) is not None:
                return ready(*args)
            with self._lock:
                return self._first_call(key, args)

    def _first_call(self, key: tuple[object, ...], args: Args) -> Any:
        started = time.monotonic()
        try:
            compiled = self._new_callable()
            with (
                quiet(),
                # Weights are folded into the kernels' own layout; INT8 kernels exist only so.
                torch._inductor.config.patch(freezing=True),
                # How often is our decision (MAX_SPECIALIZED), not that of torch's default of 8.
                torch._dynamo.config.patch(recompile_limit=_RECOMPILES),
            ):
                outputs = compiled(*args)
        except (
            torch._dynamo.exc.TorchDynamoException,
            RuntimeError,
            AssertionError,
            OSError,
            subprocess.SubprocessError,
        ) as error:
            return self._eager_after(error, args)
        finally:
            self.compile_seconds += time.monotonic() - started
        self._compiled[key] = compiled
        return outputs

    def _new_callable(self) -> Callable[..., Any]:
        if len(self._compiled) < MAX_SPECIALIZED:
            return torch.compile(self._module, dynamic=False, fullgraph=True)
        if self._general is None:
            self._general = torch.compile(self._module, dynamic=True, fullgraph=True)
        return self._general

    def _eager_after(self, error: Exception, args: Args) -> Any:
        # Raises by itself where the input is at fault, not the compiler.
        outputs = self._module(*args)
        reason = f"Inductor cannot compile it: {first_line(error)}"
        if self._execution is Execution.COMPILE:
            raise QuantizationError(
                f"{self._what}: {reason}. Install a C++ compiler (g++), or allow eager"
            ) from error
        self.fallback_reason = reason
        logger.warning("%s runs eager, slower than FP32 may be: %s", self._what, reason)
        return outputs
