"""Asks the process that opens the model for what is to be made, and bounds it."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from mopt_api.jobs.plan import PreparePlan
from mopt_optimizer.data.samples import Samples
from mopt_optimizer.errors import MemoryExceeded, ModelError, OptimizerError
from mopt_optimizer.forms.form import Form
from mopt_optimizer.machine.system import System
from mopt_optimizer.machine.threads import THREADS_VARIABLE
from mopt_optimizer.progress import LastStep, Log, Timings
from mopt_optimizer.sandbox import ChildDied, answered, run_child
from mopt_optimizer.stages.artifacts import model_files
from mopt_optimizer.stages.watching import memory_limit, memory_watch

from .messages import FP32_FILE, PrepareAnswer, PrepareRequest, Quantized, SampledFiles

_CHILD = "mopt_optimizer.stages.prepare.worker"
# Checking and opening: seconds for what people have; a few kilobytes can be made to take forever.
_LOAD_SECONDS = 600.0
# A search over a large model's layers is the longest.
_STEP_SECONDS = 6 * 3600.0


@dataclass(frozen=True)
class Made:
    """What a child made.

    Attributes:
        folder: The ended child's, with the files that its answer names.
    """

    answer: PrepareAnswer
    folder: Path

    def form(self, name: str) -> Quantized:
        """Return the form of a name, or why it could not be made.

        Raises:
            ModelError: The child did not say.
        """
        for form in self.answer.quantized:
            if form.name == name:
                return form
        raise ModelError(f"the process that opened the model did not make {name}")


class Making:
    """Makes what one plan needs, a child at a time.

    Args:
        environ: Holds the store credentials, which children do not get.
        scratch: Ours; children work in folders below.
    """

    def __init__(
        self,
        plan: PreparePlan,
        environ: Mapping[str, str],
        scratch: Path,
        timings: Timings,
        log: Log,
    ) -> None:
        self._plan = plan
        self._environ = environ
        self._scratch = scratch
        self._timings = timings
        self._log = log
        self._system = System()
        self._threads = self._system.hardware(environ).threads or 1

    def make(
        self,
        forms: Sequence[Form],
        samples: Samples | None,
        *,
        source: Path | None = None,
        fp32: Path | None = None,
        export: bool = False,
    ) -> Made:
        """Make forms, and the FP32 file.

        A form that a library crashes on is failed; another child makes the rest.

        Args:
            samples: Of the plan's data.
            source: The source model, where it is to be opened.
            fp32: The FP32 file, where forms are made from one that is there. It is moved.
            export: Whether to make the FP32 file.

        Raises:
            OptimizerError: What the child answered with, or how it ended.
        """
        left, failed = [*forms], list[Quantized]()
        while True:
            steps = LastStep(self._log)
            folder = Path(mkdtemp(dir=self._scratch, prefix="made-"))
            if fp32 is not None:
                fp32 = _moved(fp32, folder)
            request = self._request(left, samples, source, export=export)
            models = [*filter(None, (source, fp32))]
            try:
                made = Made(self._answer(request, folder, samples, models, steps), folder)
            except ChildDied as error:
                name = steps.last
                form = next((one for one in left if one.name(self._plan.quality) == name), None)
                if form is None or not _crashed(error):
                    raise death(error, memory_limit(self._system)) from error
                left.remove(form)
                failed.append(Quantized(name=name, error=f"the process that made it {error.how()}"))
                continue
            self._timings.seconds |= made.answer.seconds
            made.answer.quantized.extend(failed)
            return made

    def _answer(
        self,
        request: PrepareRequest,
        folder: Path,
        samples: Samples | None,
        models: Sequence[Path],
        log: Log,
    ) -> PrepareAnswer:
        """Return a child's answer.

        Raises:
            ChildDied: It ended without one.
            OptimizerError: What it answered with.
        """
        # Their folder, which holds nothing else: thousands of paths are no argument of a process.
        read = [*{file.parent for file in (samples.files if samples else ())}]
        for model in models:
            read += model_files(model)
        answer = run_child(
            _CHILD,
            request.to_api(),
            folder,
            read=read,
            environ=self._environ,
            variables={THREADS_VARIABLE: str(self._threads)},
            log=log,
            watch=memory_watch(self._system, "the process that opened the model"),
            patience=patience,
        )
        return answered(PrepareAnswer, answer)

    def _request(
        self,
        forms: Sequence[Form],
        samples: Samples | None,
        source: Path | None,
        *,
        export: bool,
    ) -> PrepareRequest:
        plan = self._plan
        data = plan.data
        files = [str(file) for file in samples.files] if samples else []
        return PrepareRequest(
            model=plan.model,
            path=None if source is None else str(source),
            export=export,
            inputs=plan.inputs,
            dimensions=plan.dimensions,
            forms=[*forms],
            samples=samples
            and data
            and SampledFiles(names=samples.names, files=files, images=data.images),
            calibrated=plan.calibration is not None,
            quality=plan.quality,
        )


def _crashed(error: ChildDied) -> bool:
    """Return whether a child ended by a fault of the code in it, not by the kernel or by us."""
    return error.returncode < 0 and error.returncode != -signal.SIGKILL and not error.ended


def _moved(fp32: Path, folder: Path) -> Path:
    """Move an FP32 file, which is stored, and its weights into a child's folder.

    Runtimes take weights from the model's own folder alone: those of a form lie beside them.
    """
    target = folder / FP32_FILE
    target.parent.mkdir()
    for file in model_files(fp32):
        file.rename(target.parent / file.name)
    return target


def patience(step: str) -> float:
    """Return the longest time in seconds that a child may spend on a step without a word."""
    return _LOAD_SECONDS if step in ("", "load") else _STEP_SECONDS


def death(error: ChildDied, limit: str) -> OptimizerError:
    """Return what the end of the process that opens the model says about the model.

    Args:
        limit: See memory_limit.
    """
    message = f"the process that opened the model {error.how()}"
    if error.ended:
        return ModelError(message)
    if error.returncode == -signal.SIGKILL:
        return MemoryExceeded(f"{message}: it needed more memory than {limit}")
    return OptimizerError(message) if error.returncode > 0 else ModelError(message)
