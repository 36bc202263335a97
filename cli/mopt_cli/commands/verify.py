"""`mopt verify`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from mopt_api.text import one_line
from mopt_cli._errors import CliError, ExitCode
from mopt_cli.checks import check_rows
from mopt_cli.extras import require_optimizer, require_publish
from mopt_cli.images import ImageName, opened
from mopt_cli.output import Format, FormatOption, emit
from mopt_cli.remeasuring import Measured

if TYPE_CHECKING:
    from mopt_optimizer.proofs.reading import Repository
    from mopt_optimizer.proofs.verify import Verdict
    from mopt_optimizer.proofs.wanted import Wanted


def verify(
    reference: Annotated[
        str,
        typer.Argument(
            help="HOST/PATH:TAG, HOST/PATH@DIGEST, or oci:FOLDER@DIGEST of an OCI image layout.",
            metavar="REF",
        ),
    ],
    key: Annotated[Path, typer.Option(help="The publisher's public key, PEM.")],
    data: Annotated[
        list[str] | None,
        typer.Option(help="URI or digest of data that it must have been proven on; repeatable."),
    ] = None,
    gate: Annotated[
        list[str] | None,
        typer.Option(help="Limit that its figures must reach, such as 'PSNR>=35'; repeatable."),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Allow a registry that speaks HTTP without TLS.")
    ] = False,
    auth: Annotated[
        Path | None,
        typer.Option(help="Registry credentials. Omitted, ~/.docker/config.json, if it is there."),
    ] = None,
    measure: Annotated[
        Path | None,
        typer.Option(help="Folder of the evaluation data: measure again here, by --source."),
    ] = None,
    source: Annotated[Path | None, typer.Option(help="The source model, for --measure.")] = None,
    references: Annotated[
        Path | None, typer.Option(help="Folder of the ground truth, for --measure.")
    ] = None,
    form: FormatOption = Format.TABLE,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show what the libraries print.")
    ] = False,
) -> None:
    """Verify a published image: its signatures, its files, and what is stated of them.

    Nothing but the registry is asked, and no model is opened but by --measure. Ends with 1 where
    something does not hold; of an index every image must.
    """
    require_publish("verify")
    again = _measured(measure, source, references)
    from mopt_optimizer.errors import OptimizerError
    from mopt_optimizer.proofs.bundles import PublicKey
    from mopt_optimizer.proofs.verify import verify as verified

    name = ImageName.parse(reference)
    wanted = _wanted(data or [], gate or [])
    try:
        with opened(name, auth, insecure=insecure) as repository:
            verdicts = verified(repository, name.name, PublicKey.load(key), wanted)
            if again is not None and all(verdict.holds for verdict in verdicts):
                verdicts = [
                    _with_measurement(repository, each, again, verbose=verbose) for each in verdicts
                ]
    except OptimizerError as error:
        raise CliError(f"{reference}: {one_line(str(error))}", ExitCode.FAILED) from error
    emit(_as_json(reference, verdicts), _shown(verdicts), form)
    refused = [check.name for each in verdicts for check in each.checks if not check.holds]
    if refused:
        names = ", ".join(dict.fromkeys(refused))
        raise CliError(f"{reference} is refused: {names}", ExitCode.FAILED)


def _measured(data: Path | None, source: Path | None, references: Path | None) -> Measured | None:
    if data is None:
        if source is not None or references is not None:
            raise CliError("--source and --references are for --measure")
        return None
    if source is None:
        raise CliError("--measure needs the source model too: --source FILE")
    for path, what in ((data, data.is_dir()), (source, source.is_file())):
        if not what:
            raise CliError(f"{path} is not there")
    require_optimizer("verify --measure")
    return Measured(data, source, references)


def _with_measurement(
    repository: Repository, verdict: Verdict, given: Measured, *, verbose: bool
) -> Verdict:
    """Return a verdict with what a measurement here says of it; an index has none."""
    from mopt_cli.remeasuring import measured_again
    from mopt_optimizer.errors import ProofRefused
    from mopt_optimizer.proofs.checks import Check
    from mopt_optimizer.proofs.reading import document

    if not verdict.quality:
        return verdict
    _, manifest = document(repository, verdict.digest)
    try:
        found = measured_again(repository, manifest, verdict.quality[0], given, verbose=verbose)
    except ProofRefused as error:
        found = [Check("measured here", False, str(error))]
    return replace(verdict, checks=[*verdict.checks, *found])


def _wanted(data: list[str], gates: list[str]) -> Wanted:
    from mopt_optimizer.proofs.wanted import Wanted, WantedGate

    try:
        return Wanted(tuple(data), tuple(WantedGate.parse(text) for text in gates))
    except ValueError as error:
        raise CliError(f"--gate: {error}") from error


def _as_json(reference: str, verdicts: list[Verdict]) -> dict[str, Any]:
    return {
        "reference": reference,
        "holds": all(verdict.holds for verdict in verdicts),
        "manifests": [
            {
                "digest": verdict.digest,
                "holds": verdict.holds,
                "checks": [check.to_api() for check in verdict.checks],
                "quality": list(verdict.quality),
            }
            for verdict in verdicts
        ],
    }


def _shown(verdicts: list[Verdict]) -> RenderableType:
    parts: list[RenderableType] = []
    for verdict in verdicts:
        parts.append(Text(verdict.digest, style="bold"))
        parts.append(check_rows(verdict.checks))
        missing = [
            str(what) for quality in verdict.quality for what in quality.get("notMeasured") or ()
        ]
        parts += [Text(f"not measured: {one_line(what)}") for what in dict.fromkeys(missing)]
    return Group(*parts)
