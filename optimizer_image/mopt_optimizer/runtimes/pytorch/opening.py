"""Selects the PyTorch runner that opens a model."""

from __future__ import annotations

from mopt_optimizer.runtimes.base import Opening, Runner


def open_program(opening: Opening) -> Runner:
    """Open a .pt2 or .ts, eager or compiled. Raises as registry.open_runner."""
    if opening.is_compiled:
        # Imported only here: it registers the operators that quantized programs call.
        from .compiled import CompiledRunner

        return CompiledRunner(opening)
    from .runner import PyTorchRunner

    return PyTorchRunner(opening)
