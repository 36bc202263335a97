"""The configurations that a form may be served in: instances, threads and batch. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from mopt_api.figures import Serving


class Space:
    """Configurations within some CPUs, on a grid that gets finer where a search looks closer.

    Threads are powers of two and all CPUs, and so are instances, of the CPUs that their threads
    leave; batches are given.

    Args:
        cpus: Threads that may compute at the same time, 1 at least.
        batches: Sizes that may be computed, rising; the first is 1.
    """

    def __init__(self, cpus: int, batches: Sequence[int]) -> None:
        self.cpus = cpus
        self.batches = tuple(batches)
        self.threads = powers_of_two(cpus)

    def filled(self, threads: int, batch: int) -> Serving:
        """Return the configuration that takes all CPUs with instances of so many threads."""
        return Serving(instances=max(1, self.cpus // threads), threads=threads, batch=batch)

    def coarse(self) -> list[Serving]:
        """Return those that take all CPUs, one sample a call: from one instance to most."""
        return [self.filled(threads, 1) for threads in reversed(self.threads)]

    def neighbours(self, around: Serving) -> list[Serving]:
        """Return the configurations next to one, the likeliest to be better first."""
        batches = _beside(self.batches, around.batch)
        threads = _beside(self.threads, around.threads)
        counts = _beside(self._counts(around.threads), around.instances)
        one_step = [
            *(around.model_copy(update={"batch": batch}) for batch in batches),
            *(self.filled(count, around.batch) for count in threads),
            *(around.model_copy(update={"instances": count}) for count in counts),
        ]
        # Fewer copies of larger batches, and the reverse: as many samples at once.
        traded = [
            self.filled(count, batch)
            for count in threads
            for batch in batches
            if (count > around.threads) == (batch > around.batch)
        ]
        return one_step + traded

    def beyond(self, around: Serving) -> list[Serving]:
        """Return the configurations two steps of batch from one.

        One trial that came out low hides what lies behind it, and so does one size of batch that
        a runtime is slow at.
        """
        return [
            around.model_copy(update={"batch": further})
            for next_batch in _beside(self.batches, around.batch)
            for further in _beside(self.batches, next_batch)
            if further != around.batch
        ]

    def everything(self) -> list[Serving]:
        """Return the whole grid."""
        return [
            Serving(instances=count, threads=threads, batch=batch)
            for threads in self.threads
            for count in self._counts(threads)
            for batch in self.batches
        ]

    def _counts(self, threads: int) -> tuple[int, ...]:
        return powers_of_two(max(1, self.cpus // threads))


def key_of(serving: Serving) -> tuple[int, int, int]:
    """Return a configuration as a key of a dictionary."""
    return (serving.instances, serving.threads, serving.batch)


def powers_of_two(most: int) -> tuple[int, ...]:
    """Return 1, 2, 4, ... below a number, and the number."""
    return (*(2**k for k in range(most.bit_length()) if 2**k < most), most)


def _beside(line: Sequence[int], value: int) -> list[int]:
    """Return what comes after a value on a line, and what comes before it."""
    after = [b for a, b in pairwise(line) if a == value]
    before = [a for a, b in pairwise(line) if b == value]
    return after + before
