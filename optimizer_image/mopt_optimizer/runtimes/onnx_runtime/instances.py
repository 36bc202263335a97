"""Several instances in ONNX Runtime.

Its Python interface has no container for prepacked weights (the C interface has). What shares them
all the same is one session: with one thread it has no pool, computes in the thread that calls, and
may be called by many at once. Instances of more threads need a pool each, so a session each.
"""

from __future__ import annotations

from functools import partial

from mopt_optimizer.runtimes.base import Opening
from mopt_optimizer.runtimes.instances import Batches, Compute, computed

from .runner import OnnxRuntimeRunner


def sessions(opening: Opening, count: int, batches: Batches) -> list[Compute]:
    """Return instances, see registry.open_instances."""
    opened = [OnnxRuntimeRunner(opening) for _ in range(1 if opening.threads == 1 else count)]
    return [partial(computed, opened[i % len(opened)], batches) for i in range(count)]
