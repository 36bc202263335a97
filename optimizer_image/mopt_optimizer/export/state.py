"""What a module keeps between calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def written_buffers(module: torch.nn.Module) -> Callable[[], list[str]]:
    """Return what returns the names of the buffers that have changed since now."""
    import torch

    before = {name: buffer.clone() for name, buffer in module.named_buffers()}

    def written() -> list[str]:
        return [
            name
            for name, buffer in module.named_buffers()
            if name in before and not torch.equal(buffer, before[name])
        ]

    return written
