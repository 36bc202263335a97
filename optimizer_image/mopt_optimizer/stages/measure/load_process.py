"""A variant served to LoadGen in its own process: one for each configuration."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mopt_api.figures import Serving
from mopt_optimizer.load.messages import InstancesOpened, OpenInstances, RunTest, Tested
from mopt_optimizer.load.outcome import Outcome
from mopt_optimizer.load.rules import Rules
from mopt_optimizer.runtimes.base import Opening
from mopt_optimizer.runtimes.registry import forks, starts_programs, variables
from mopt_optimizer.sandbox import Child, remove
from mopt_optimizer.stages.artifacts import model_files

from .process import KEPT_MEMORY, Timeouts, asked, watch_memory

_WORKER = "mopt_optimizer.load.worker"
# A rate that is too high for it is worked off.
_PATIENCE = 20


@dataclass(frozen=True)
class Requests:
    """What requests are made of.

    Attributes:
        samples: Files of each sample's inputs, by name.
        folder: They are below.
        batched: See OpenInstances.
        sizes: Of the batches that the model takes, rising; the first is 1.
    """

    samples: Sequence[Mapping[str, Path]]
    folder: Path
    batched: Mapping[str, int]
    sizes: Sequence[int]


class LoadProcess:
    """Instances of a variant, open. Methods raise as VariantProcess's.

    Attributes:
        rate: Samples a second that all of them may be expected to compute.
    """

    def __init__(
        self,
        opening: Opening,
        serving: Serving,
        requests: Requests,
        *,
        workdir: Path,
        environ: Mapping[str, str],
        memory_share: Callable[[], float | None],
    ) -> None:
        """Start the process and open the instances in it.

        Args:
            opening: Its threads and scratch folder are set here.
            workdir: Exists; the process gets a folder of its own there.
        """
        self._timeouts = Timeouts()
        self._folder = Path(tempfile.mkdtemp(dir=workdir, prefix="load-"))
        opening = opening.model_copy(update={"scratch": self._folder, "threads": serving.threads})
        self._child = Child(
            _WORKER,
            self._folder,
            read=(*model_files(opening.path), requests.folder),
            programs=starts_programs(opening),
            forks=forks(opening),
            environ=environ,
            # Of one thread: what forks must have no others; runtimes are told theirs.
            variables=variables(
                opening.model_copy(update={"threads": 1}), self._folder / "compiled"
            )
            | KEPT_MEMORY,
            watch=partial(watch_memory, memory_share),
        )
        sizes = [size for size in requests.sizes if size <= serving.batch]
        try:
            opened = asked(
                self._child,
                OpenInstances(
                    opening=opening,
                    instances=serving.instances,
                    samples=[{n: str(p) for n, p in s.items()} for s in requests.samples],
                    batched=dict(requests.batched),
                    sizes=sizes,
                ),
                InstancesOpened,
                self._timeouts.open,
            )
        except BaseException:
            self.close()
            raise
        self.rate = opened.rate * serving.instances

    def test(self, rules: Rules) -> Outcome:
        """Let LoadGen test it."""
        expected = max(rules.seconds, rules.requests / rules.rate)
        limit = _PATIENCE * expected + self._timeouts.call
        return asked(self._child, RunTest(rules=rules), Tested, limit).outcome

    def close(self) -> None:
        """End the process and all it started."""
        self._child.close()
        remove(self._folder)
