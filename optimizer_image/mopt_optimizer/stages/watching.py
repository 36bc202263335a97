"""What a stage watches while its children work."""

from __future__ import annotations

from collections.abc import Callable

from mopt_optimizer.errors import MemoryExceeded
from mopt_optimizer.machine.system import MEMORY_END, System


def memory_watch(system: System, who: str) -> Callable[[], None]:
    """Return what raises MemoryExceeded once the container's memory is nearly used up.

    The kernel would end the whole container then, and nobody could say why.

    Args:
        who: Which process is at work.
    """

    def watch() -> None:
        share = system.memory_share()
        if share is not None and share > MEMORY_END:
            raise MemoryExceeded(
                f"{who} was ended at {share:.0%} of {memory_limit(system)}, before the kernel "
                "would end the container"
            )

    return watch


def memory_limit(system: System) -> str:
    """Return the container's memory limit in words."""
    size = system.memory_bytes()
    return "the container's memory limit" + (f" of {size / 2**30:.3g} GiB" if size else "")
