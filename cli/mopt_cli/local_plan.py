"""Plans to run a resource on this machine: uris may be local, options replace fields."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from mopt_api.enums import StoreCredentials
from mopt_api.formats import format_by_suffix
from mopt_api.jobs.anonymous import CREDENTIALS_KEY, anonymous_roles
from mopt_api.jobs.plan import (
    DEFAULT_TARGET,
    MeasurePlan,
    PlannedData,
    PreparePlan,
    measure_plan,
    prepare_plan,
)
from mopt_api.jobs.second_search import Aims
from mopt_api.spec import ModelOptimizationSpec
from mopt_api.stores import FILE, SCHEMES, Place, shapes
from mopt_optimizer.machine.system import own_cpu_class

from ._errors import CliError
from .resources import checked_spec

DEFAULT_OUTPUT = "mopt-output"
# The schema takes s3:// only: stands in for local uris, with the field's name, while the spec is
# checked.
_STAND_IN = "s3://local/"
_PLACES = {
    "model": ("model",),
    "calibration": ("data", "calibration"),
    "evaluation": ("data", "evaluation"),
    "references": ("data", "evaluation", "references"),
}
_CLUSTER_ONLY = ("profile", "nodeSelector", "queueName", "resources")

Fields = dict[str, Any]


@dataclass(frozen=True)
class Overrides:
    """Options of `mopt run` that replace fields of spec.

    Attributes:
        output: A folder or s3://BUCKET/PREFIX.
    """

    model: Path | None = None
    calibration: Path | None = None
    evaluation: Path | None = None
    references: Path | None = None
    output: str | None = None
    target: str | None = None


@dataclass(frozen=True)
class LocalWork:
    """The work to run here.

    Attributes:
        uris: Of model, calibration, evaluation and references, where given: s3:// or
            file://.
        output_uri: s3:// or file://.
        notes: Parts of the resource that do not apply here.
    """

    spec: ModelOptimizationSpec
    uris: dict[str, str]
    output_uri: str
    target: str
    notes: tuple[str, ...] = ()

    @property
    def variables(self) -> dict[str, str]:
        """What of the stores' credentials the environment says in a Job."""
        return {
            role.variable(CREDENTIALS_KEY): StoreCredentials.ANONYMOUS.value
            for role in anonymous_roles(self.spec)
        }

    def prepare(self, aims: Aims | None = None) -> PreparePlan:
        """Return the plan of the prepare stage: the operator's, with these uris.

        Args:
            aims: Of a second search.
        """
        # What prepares here measures here.
        here = own_cpu_class()
        plan = prepare_plan(self.spec, self.output_uri, aims=aims, cpu_classes=[here])
        return plan.model_copy(
            update={
                "model": plan.model.model_copy(update={"uri": self.uris["model"]}),
                "calibration": self._data(plan.calibration, "calibration"),
                "evaluation": self._data(plan.evaluation, "evaluation"),
            }
        )

    def measure(self, prepared: str) -> MeasurePlan:
        """Return the plan of the measure stage.

        Args:
            prepared: Digest of the prepare stage's manifest.
        """
        plan = measure_plan(
            self.spec, target=self.target, prepared=prepared, output_uri=self.output_uri
        )
        return plan.model_copy(
            update={
                "model": plan.model.model_copy(update={"uri": self.uris["model"]}),
                "evaluation": self._data(plan.evaluation, "evaluation"),
                "references": plan.references
                and plan.references.model_copy(update={"uri": self.uris["references"]}),
            }
        )

    def _data(self, data: PlannedData | None, name: str) -> PlannedData | None:
        return data and data.model_copy(update={"uri": self.uris[name]})


def local_work(document: Fields, file: Path, overrides: Overrides) -> LocalWork:
    """Return the work of a resource, with its uris as this machine reaches them.

    Args:
        document: A ModelOptimization; relative paths in it start at `file`'s folder.

    Raises:
        CliError: A missing path, a target that the spec does not have, or a violated rule.
    """
    fields = copy.deepcopy(document.get("spec"))
    if not isinstance(fields, dict):
        raise CliError(f"{file}: spec: must be a mapping; see mopt check")
    base = Path.cwd() if str(file) == "-" else file.parent
    notes: list[str] = []
    uris: dict[str, str] = {}
    if overrides.model is not None:
        notes += _override_model(fields, overrides.model)
    for name in ("calibration", "evaluation"):
        folder: Path | None = getattr(overrides, name)
        if folder is not None:
            _take_folder(_mapping(_mapping(fields, "data"), name), folder)
    if overrides.references is not None:
        evaluation = _mapping(_mapping(fields, "data"), "evaluation")
        _take_folder(_mapping(evaluation, "references"), overrides.references)
    for name, keys in _PLACES.items():
        place: Any = fields
        for key in keys:
            place = place.get(key) if isinstance(place, dict) else None
        if isinstance(place, dict) and isinstance(place.get("uri"), str):
            uris[name] = _made_local(place, name, ".".join(("spec", *keys, "uri")), base)
    output_uri = _output(fields, base, overrides.output)
    spec = checked_spec(fields, file)
    target = _target(spec, overrides.target)
    return LocalWork(spec, uris, output_uri, target, (*notes, *_ignored(spec, target)))


def _made_local(place: Fields, name: str, where: str, base: Path) -> str:
    """Return the uri of a model or of data as this machine reaches it.

    Args:
        place: Gets a uri that the schema takes, where its own is a path.
        where: The field, as messages have it.
    """
    archive = name != "model" and "sha256" in place
    address, *inside = place["uri"].split("#", 1) if archive else [place["uri"]]
    uri = local_uri(address, where, base, Place.DATA if name != "model" else Place.MODEL)
    if uri.startswith("file:"):
        path = _path(uri)
        _check_kind(where, path, folder=name != "model" and not archive)
        place["uri"] = f"{_STAND_IN}{name}{''.join(path.suffixes[-2:]) if archive else ''}"
    return "#".join([uri, *inside])


def _mapping(fields: Fields, name: str) -> Fields:
    """Return a mapping below fields, made where there is none."""
    found = fields.get(name)
    if not isinstance(found, dict):
        found = fields[name] = {}
    return found


def _take_folder(data: Fields, folder: Path) -> None:
    """Have data be a local folder, whatever archive it was."""
    data["uri"] = str(folder.absolute())
    data.pop("sha256", None)


def _override_model(fields: Fields, path: Path) -> list[str]:
    """Set a local file as the model, with its digest; return notes for the user."""
    from mopt_optimizer.digests import file_digest

    if not path.is_file():
        raise CliError(f"--model {path} is not a file")
    model = _mapping(fields, "model")
    digest = file_digest(path).removeprefix("sha256:")
    declared = model.get("sha256")
    model |= {"uri": str(path.absolute()), "sha256": digest}
    known = format_by_suffix()
    if "format" not in model and path.suffix.lower() in known:
        model["format"] = known[path.suffix.lower()].value
    if declared not in (None, digest):
        return [f"--model has sha256 {digest}, not spec.model.sha256 {declared}: the file is used"]
    return []


def _check_kind(where: str, path: Path, *, folder: bool) -> None:
    if not (path.is_dir() if folder else path.is_file()):
        raise CliError(f"{where}: {path} is not a {'folder' if folder else 'file'}")


def local_uri(text: str, where: str, base: Path, place: Place) -> str:
    """Return a store's uri as it is, everything else as file://.

    Args:
        text: A uri of SCHEMES, or a path; a relative one starts at base.

    Raises:
        CliError: Another scheme.
    """
    scheme, separator, _ = text.partition("://")
    if not separator:
        return (base / text).resolve().as_uri()
    known = SCHEMES.get(scheme)
    remote = known is not None and scheme != FILE and place in known.places
    if remote or text.startswith("file:///"):
        return text
    raise CliError(f"{where}: {text} is neither {shapes(place)} nor a path")


def _path(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path))


def _output(fields: Fields, base: Path, override: str | None) -> str:
    output = fields.get("output")
    declared = output.get("uri") if isinstance(output, dict) else None
    if override is not None:
        uri = local_uri(override, "--output", Path.cwd(), Place.OUTPUT)
    elif isinstance(declared, str):
        uri = local_uri(declared, "spec.output.uri", base, Place.OUTPUT)
    else:
        uri = local_uri(DEFAULT_OUTPUT, "--output", Path.cwd(), Place.OUTPUT)
    if uri.startswith("file:") and _path(uri).exists() and not _path(uri).is_dir():
        raise CliError(f"output {_path(uri)} is not a folder; choose another with --output")
    if isinstance(declared, str) and uri != declared:
        fields["output"]["uri"] = f"{_STAND_IN}output"
    return uri


def _target(spec: ModelOptimizationSpec, name: str | None) -> str:
    known = [target.name for target in spec.targets] or [DEFAULT_TARGET]
    if name is not None and name not in known:
        raise CliError(f"--target {name}: spec.targets has {', '.join(known)}")
    return name or known[0]


def _ignored(spec: ModelOptimizationSpec, target: str) -> list[str]:
    """Return notes on what applies in a cluster only."""
    notes = []
    if len(spec.targets) > 1:
        notes.append(f"of {len(spec.targets)} targets, {target} is run; see --target")
    chosen = next((t for t in spec.targets if t.name == target), None)
    given = chosen.to_api() if chosen else {}
    if fields := [name for name in _CLUSTER_ONLY if given.get(name)]:
        notes.append(f"target {target} is this machine: {', '.join(fields)} ignored")
    return notes


def output_path(uri: str) -> str:
    """Return a uri for display: a path where it is local."""
    return str(_path(uri)) if uri.startswith("file:") else uri
