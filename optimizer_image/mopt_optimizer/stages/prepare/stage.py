"""The prepare stage: store I/O and decisions; the model itself is opened in a child process.

Each step's result is kept in the output store, and served from there where everything that it
depends on is the same: step_keys says what that is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import partial
from itertools import product
from pathlib import Path

from mopt_api.artifacts import Artifact
from mopt_api.auto.int8 import CpuClass
from mopt_api.auto.search import contenders_on
from mopt_api.auto.unsupported import unsupported_on_kind
from mopt_api.jobs.data_statistics import DataWarning
from mopt_api.jobs.plan import Credentials, PreparePlan
from mopt_api.jobs.prepare_result import PrepareResult, StepOutcome
from mopt_api.variants import Variant
from mopt_optimizer.data.folder import load_data
from mopt_optimizer.data.process import DecodingProcess
from mopt_optimizer.data.review import Role, log_warnings, review
from mopt_optimizer.data.samples import Samples
from mopt_optimizer.errors import ModelError
from mopt_optimizer.forms.form import Form, form_of
from mopt_optimizer.machine.system import System, own_cpu_class
from mopt_optimizer.progress import Log, Timings
from mopt_optimizer.sandbox import temporary_folder
from mopt_optimizer.stages.artifacts import identity
from mopt_optimizer.stages.missing import installed_libraries, missing_maker
from mopt_optimizer.stages.step_keys import (
    REQUESTED_AT_VARIABLE,
    export_key,
    form_key,
    manifest_key,
    software_versions,
)
from mopt_optimizer.stages.steps import ExportEntry, FormEntry, StepCache, prepared_artifacts
from mopt_optimizer.stages.watching import memory_watch
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store

from .assignment import assign, unfit
from .files import ModelFiles
from .making import Made, Making
from .manifest import stored_manifest
from .other_weights import OtherWeights, told_before, told_by_others


def prepare(
    plan: PreparePlan, environ: Mapping[str, str], workdir: Path, log: Log
) -> tuple[PrepareResult, str]:
    """Make the forms of a model that measure Jobs start from, or find them in the store.

    Args:
        environ: Holds the store credentials; see open_store.
        workdir: Scratch space for several copies of the model.

    Returns:
        The manifest, and its digest in the output store.

    Raises:
        OptimizerError: Any of them, each with its condition reason.
    """
    with temporary_folder(workdir, prefix="prepare-") as folder:
        return PrepareStage(plan, environ, folder, log).run()


class PrepareStage:
    """One run of the stage.

    Args:
        scratch: Empty, ours.
    """

    def __init__(
        self, plan: PreparePlan, environ: Mapping[str, str], scratch: Path, log: Log
    ) -> None:
        self._plan = plan
        self._environ = environ
        self._scratch = scratch
        self._log = log
        self._timings = Timings(log)
        self._blobs = Blobs(*open_store(plan.output_uri, Credentials.OUTPUT, environ))
        self._cache = StepCache(self._blobs, log)
        self._files = ModelFiles(plan, environ, scratch, self._timings, self._blobs)
        self._making = Making(plan, environ, scratch, self._timings, log)
        self._software = software_versions()
        self._requested_at = environ.get(REQUESTED_AT_VARIABLE)
        self._system = System()
        self._installed = installed_libraries()
        self._samples: Samples | None = None

    def run(self) -> tuple[PrepareResult, str]:
        """Return the manifest, and the digest it is stored under."""
        wanted = [
            form
            for form in wanted_forms(self._plan)
            if missing_maker(form, self._installed) is None
        ]
        self._samples = _samples_of(
            self._plan, self._environ, self._scratch, self._system, self._timings
        )
        calibrated = self._calibration is not None
        forms = [form for form in wanted if calibrated or not form.needs_samples]
        export, made = self._from_source([form for form in forms if form.from_program])
        others = self._other_weights(export)
        variants = _contenders(self._plan, export.operators, others)
        left = wanted_forms(self._plan.model_copy(update={"variants": variants}))
        forms = [
            form.starting(others.starts.get(form.name(self._plan.quality), ()))
            for form in forms
            if form.from_program or form in left
        ]
        made |= self._from_fp32(export.artifact, [form for form in forms if not form.from_program])
        found = self._manifest(
            export, [made[self._key(f, export.artifact)] for f in forms], variants, others
        )
        outcomes = [step.outcome for step in self._cache.steps]
        built, served = (outcomes.count(outcome) for outcome in StepOutcome)
        self._log(
            "prepare",
            f"done: {built} steps built, {served} served from the store",
            built=built,
            served=served,
            digest=found[1],
        )
        return found

    @property
    def _calibration(self) -> Samples | None:
        """The samples, where they are calibration data."""
        return self._samples if self._plan.calibration else None

    def _key(self, form: Form, fp32: Artifact | None) -> str:
        return form_key(
            form,
            self._plan,
            fp32=identity(fp32) if fp32 else None,
            samples=self._samples.digest if self._samples else None,
            software=self._software,
            requested_at=self._requested_at,
        )

    def _from_source(self, forms: Sequence[Form]) -> tuple[ExportEntry, dict[str, FormEntry]]:
        """Return the FP32 file, and by their keys the forms made from the model as it came."""
        digest = self._samples.digest if self._samples else None
        key = export_key(self._plan, self._software, self._requested_at, samples=digest)
        export = self._cache.export(key)
        found, missing = self._look_up({self._key(form, None): form for form in forms})
        if export is None or missing:
            # Without the FP32 file it is not known yet which forms of that are missing.
            count = len(missing) if export else len(wanted_forms(self._plan))
            source = self._files.fetch_source(count)
            made = self._making.make(
                [*missing.values()], self._samples, source=source, export=export is None
            )
            with self._uploading():
                if made.answer.exported is not None:
                    exported = self._files.export_entry(
                        key, made.answer.exported, made.folder, source
                    )
                    export = self._cache.put(exported)
                found |= self._put_forms(missing, made)
        if export is None:
            raise ModelError("the process that opened the model exported nothing")
        return export, found

    def _from_fp32(self, fp32: Artifact, forms: Sequence[Form]) -> dict[str, FormEntry]:
        """Return by their keys the forms made from the FP32 file.

        By a process that opens nothing else of the model: they are served to whoever comes to the
        same FP32 file, from another model too.
        """
        found, missing = self._look_up({self._key(form, fp32): form for form in forms})
        if missing:
            self._files.fetch_fp32(fp32, len(missing))
            made = self._making.make([*missing.values()], self._samples, fp32=self._files.fp32)
            with self._uploading():
                found |= self._put_forms(missing, made)
        return found

    def _look_up(self, forms: Mapping[str, Form]) -> tuple[dict[str, FormEntry], dict[str, Form]]:
        """Return the forms that are in the store and those that are not, both by their keys."""
        entries = {key: self._cache.form(key) for key in forms}
        found = {key: entry for key, entry in entries.items() if entry}
        return found, {key: form for key, form in forms.items() if key not in found}

    def _uploading(self) -> AbstractContextManager[None]:
        return self._timings.step("upload", f"storing under {self._plan.output_uri}")

    def _put_forms(self, missing: Mapping[str, Form], made: Made) -> dict[str, FormEntry]:
        return {
            key: self._cache.put(
                self._files.form_entry(key, made.form(form.name(self._plan.quality)), made.folder)
            )
            for key, form in missing.items()
        }

    def _manifest_key(self, *, warm: bool) -> str:
        digest = self._calibration.digest if self._calibration else None
        return manifest_key(self._plan, digest, self._software, self._requested_at, warm=warm)

    def _other_weights(self, export: ExportEntry) -> OtherWeights:
        """Return what other weights of the graph tell; nothing for who asks anew."""
        if self._plan.search is None or self._requested_at is not None:
            return OtherWeights()
        known = told_before(self._blobs, self._manifest_key)
        if known is not None:
            return known
        software, now = self._software, datetime.now(UTC)
        return told_by_others(self._plan, export, self._blobs, software, now, self._log)

    def _reviewed(self, export: ExportEntry) -> list[DataWarning]:
        """Return what looks wrong with the calibration data; log it."""
        if (samples := self._calibration) is None:
            return []
        found = review(Role.CALIBRATION, samples.statistics, samples.patches, export.first_layers)
        log_warnings(found, self._log)
        return found

    def _manifest(
        self,
        export: ExportEntry,
        forms: Sequence[FormEntry],
        variants: Sequence[Variant],
        others: OtherWeights,
    ) -> tuple[PrepareResult, str]:
        """Return the manifest of these, and its digest: the one in the store where it says the
        same, so that what was measured from it is found again."""
        plan, samples = self._plan, self._calibration
        assigned = assign(
            variants,
            plan.model.format,
            forms,
            calibrated=samples is not None,
            gates=plan.quality,
            aims=plan.aims or {},
            kinds=plan.kinds,
            missing=partial(missing_maker, installed=self._installed),
        )
        result = PrepareResult(
            source=export.source,
            artifacts=prepared_artifacts([export, *forms]),
            artifacts_by_kind=assigned.by_kind,
            narrow_sums=assigned.narrow_sums,
            verifications=export.verifications,
            passes=export.passes,
            operators=export.operators,
            graph=export.graph,
            outrun=others.outrun,
            starts=others.starts,
            calibration_digest=samples.digest if samples else None,
            calibration_samples=len(samples.names) if samples else None,
            calibration=samples.statistics if samples else None,
            first_layers=export.first_layers,
            warnings=self._reviewed(export),
            quantizations=[form.report for form in forms if form.report],
            software=self._software,
            steps=self._cache.steps,
            seconds=dict(self._timings.seconds),
        )
        return stored_manifest(self._blobs, self._manifest_key(warm=bool(others)), result)


def _contenders(
    plan: PreparePlan, operators: dict[str, int], others: OtherWeights
) -> list[Variant]:
    """Return the plan's variants; of Auto's those that the operators and what was measured of other
    weights leave contenders."""
    if plan.search is None:
        return plan.variants
    lost = {kind: found.variants for kind, found in others.outrun.items()}
    facts = plan.search.model_copy(update={"operators": operators, "outrun": lost})
    left = {variant.name for variant in contenders_on(facts, plan.kinds)}
    return [variant for variant in plan.variants if variant.name in left]


def _samples_of(
    plan: PreparePlan,
    environ: Mapping[str, str],
    scratch: Path,
    system: System,
    timings: Timings,
) -> Samples | None:
    """Fetch the samples: what the model and each form are tried on is part of their keys."""
    if (data := plan.data) is None:
        return None
    decoding = DecodingProcess(
        scratch,
        environ=environ,
        watch=memory_watch(system, "the process that reads data"),
    )
    role = Credentials.CALIBRATION if plan.calibration else Credentials.EVALUATION
    name = f"{role.value.lower()}-data"
    with timings.step(name, f"fetching samples of {data.uri}"), decoding:
        decoding.start()
        return load_data(data, role, plan.inputs, plan.dimensions, decoding.data, environ, decoding)


def wanted_forms(plan: PreparePlan) -> list[Form]:
    """Return the forms that a plan's variants run on its targets, each once.

    A variant of a second search comes with its first form, which it runs where there is no other.
    For CPUs there is one for each class that they may be of, not for that of the CPU that prepares.
    """
    aims = plan.aims or {}
    wanted = (
        wanted
        for variant in plan.variants
        for kind, narrow_sums in product(plan.kinds, _sums(plan))
        if unsupported_on_kind(variant, kind) is None and unfit(variant, plan.model.format) is None
        if (form := form_of(variant, kind, narrow_sums=narrow_sums)) is not None
        for wanted in (form, form.aimed(aims.get(variant.name, ())))
    )
    return list({form.name(plan.quality): form for form in wanted}.values())


def _sums(plan: PreparePlan) -> list[bool]:
    """Return of each kind of CPU that forms are for whether it adds products in 16 bits."""
    classes = plan.cpu_classes or [own_cpu_class()]
    return sorted({cpu is CpuClass.NARROW_X86 for cpu in classes})
