"""Entry point of the Jobs: `mopt-optimizer STAGE`, the plan in MOPT_PLAN; see Stage.

Standard output gets progress as JSON lines, standard error everything else, and the termination
message says how it ended. Heavy libraries are imported only once the plan is known to be good.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from types import FrameType
from typing import NoReturn

from pydantic import ValidationError

from mopt_api.enums import TargetKind
from mopt_api.extensible import load_extensions
from mopt_api.jobs.plan import (
    DEADLINE_VARIABLE,
    GENERATION_VARIABLE,
    PLAN_ADAPTER,
    PLAN_VARIABLE,
    RESOURCE_VARIABLE,
    JobPlan,
    PreparePlan,
    PublishPlan,
    ReportPlan,
    Stage,
    VerifyPlan,
)
from mopt_api.jobs.termination import (
    Summary,
    encode,
    error_summary,
    summarize_measure,
    summarize_prepare,
)
from mopt_api.jobs.traceparent import trace_context
from mopt_api.reasons import REASONS, Reason
from mopt_api.text import plain

from .deadline import TimeIsUp, ending_before
from .errors import DeadlineExceeded, OptimizerError, SpecError
from .machine.versions import product_version
from .progress import LastStep, Log, json_log
from .sandbox import hide_environment, report_of, temporary_folder
from .stages.time_left import read_deadline

TERMINATION_VARIABLE = "MOPT_TERMINATION_LOG"
TERMINATION_DEFAULT = "/dev/termination-log"
_SIGTERM_EXIT = 128 + signal.SIGTERM
# Reasons that only the operator finds have no code; as the kernel's kill does.
_NO_CODE_EXIT = 128 + signal.SIGKILL


def main(argv: Sequence[str] | None = None) -> int:
    """Run one stage and return the exit status: 0, or the code of the reason it failed for."""
    arguments = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, _on_sigterm)
    hide_environment()
    environ = dict(os.environ)
    log = LastStep(json_log())
    late = partial(_too_late, arguments.stage, environ, log)
    try:
        with ending_before(read_deadline(environ), partial(_end_now, late, environ)):
            load_extensions(environ)
            plan = read_plan(environ, arguments.stage)
            version = product_version()
            about = _about(environ)
            log(arguments.stage, f"begins, by mopt {version}", version=version, **about)
            with (
                temporary_folder(arguments.workdir, prefix="mopt-") as folder,
                _traced(plan, log) as told,
            ):
                # Neither a key nor a result depends on the trace.
                summary = _run(plan.without_trace(), environ, folder, told)
    except TimeIsUp:
        return _fail(late(), environ, log)
    except OptimizerError as error:
        report = report_of(error)
        print(f"{report.reason}: {report.message}", file=sys.stderr)
        return _fail(error, environ, log)
    except Exception as error:  # noqa: BLE001 - reported as InternalError, with its traceback
        lines = traceback.format_exc().splitlines()
        print(*map(plain, lines), sep="\n", file=sys.stderr)
        return _fail(error, environ, log)
    _write_termination(encode(summary), environ)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mopt-optimizer", description=__doc__)
    parser.add_argument("stage", choices=[stage.value.lower() for stage in Stage])
    parser.add_argument(
        "--workdir",
        type=Path,
        default=Path(tempfile.gettempdir()),
        help="folder for temporary files, several times the model's size (default: TMPDIR)",
    )
    return parser


def _on_sigterm(_number: int, _frame: FrameType | None) -> None:
    # Unwinds: children are ended and temporary files removed on the way out.
    raise SystemExit(_SIGTERM_EXIT)


def _too_late(stage: str, environ: Mapping[str, str], log: LastStep) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"{stage} had not ended shortly before its deadline of {environ[DEADLINE_VARIABLE]} s; "
        f"it was at step {log.last or 'start'}"
    )


def _end_now(late: Callable[[], DeadlineExceeded], environ: Mapping[str, str]) -> NoReturn:
    """End at once, with the message: the kernel ends the children."""
    report = report_of(late())
    _write_termination(encode(error_summary(report)), environ)
    os._exit(exit_code(report.reason))


def read_plan(environ: Mapping[str, str], stage: str) -> JobPlan:
    """Return the plan in the environment.

    Raises:
        SpecError: There is none, it is not valid, or it is for another stage.
    """
    text = environ.get(PLAN_VARIABLE)
    if text is None:
        raise SpecError(f"no plan: {PLAN_VARIABLE} is not set")
    try:
        plan = PLAN_ADAPTER.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "MOPT_PLAN"
        raise SpecError(f"the plan is not valid: {where}: {first['msg']}") from error
    if plan.stage.value.lower() != stage:
        raise SpecError(f"the plan is for {plan.stage.value.lower()}, not for {stage}")
    return plan


def _about(environ: Mapping[str, str]) -> dict[str, object]:
    """Return which resource the Job is of, as the operator's log names it; without one nothing."""
    namespace, _, name = environ.get(RESOURCE_VARIABLE, "").partition("/")
    generation = environ.get(GENERATION_VARIABLE, "")
    if not (name and generation.isdecimal()):
        return {}
    return {"namespace": namespace, "name": name, "generation": int(generation)}


def _traced(plan: JobPlan, log: Log) -> AbstractContextManager[Log]:
    """Return what makes spans of a stage and its steps; without a trace, nothing is imported."""
    context = trace_context(plan.traceparent)
    if context is None or not context.sampled:
        return nullcontext(log)
    try:
        from .tracing import new_provider, traced

        return traced(plan, context, log, new_provider())
    except Exception as error:  # noqa: BLE001 - such as a variable that OpenTelemetry cannot read
        print(f"there are no traces: {error}", file=sys.stderr)
        return nullcontext(log)


def _run(plan: JobPlan, environ: Mapping[str, str], workdir: Path, log: Log) -> Summary:
    if isinstance(plan, PreparePlan):
        from .stages.prepare.stage import prepare

        return summarize_prepare(*prepare(plan, environ, workdir, log))
    if isinstance(plan, ReportPlan):
        from .stages.report.stage import report

        return summarize_measure(*report(plan, environ, log))
    if isinstance(plan, VerifyPlan):
        from .stages.measure.verify import verify

        return summarize_measure(*verify(plan, environ, workdir, log))
    if isinstance(plan, PublishPlan):
        from .stages.publish.stage import publish

        return publish(plan, environ, workdir, log)
    if plan.kind is TargetKind.BUILD_ONLY:
        from .stages.engines.stage import build_engines

        return summarize_measure(*build_engines(plan, environ, workdir, log))
    from .stages.measure.stage import measure

    return summarize_measure(*measure(plan, environ, workdir, log))


def _fail(error: Exception, environ: Mapping[str, str], log: Log) -> int:
    report = report_of(error)
    log("failed", report.message, reason=report.reason.value)
    _write_termination(encode(error_summary(report)), environ)
    return exit_code(report.reason)


def exit_code(reason: Reason) -> int:
    """Return the exit status that tells Kubernetes whether a retry may help."""
    code = REASONS[reason].exit_code
    return _NO_CODE_EXIT if code is None else code


def _write_termination(message: str, environ: Mapping[str, str]) -> None:
    path = Path(environ.get(TERMINATION_VARIABLE, TERMINATION_DEFAULT))
    try:
        path.write_text(message)
    except OSError as error:
        print(f"the termination message cannot be written to {path}: {error}", file=sys.stderr)
        # Kubernetes' FallbackToLogsOnError takes the end of the log.
        print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
