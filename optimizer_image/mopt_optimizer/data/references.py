"""Ground truth for evaluation samples: a file for each, of the sample's name but for the suffix.

An image is what the model's one output should be; an .npy too; an .npz holds one array per output,
in the model's order. Top-1 agreement also takes integer labels instead of scores; detections and
sequences may differ from the outputs in their number.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mopt_api.enums import QualityMetric
from mopt_api.jobs.plan import Credentials, PlannedData, PlannedReferences
from mopt_api.metrics import METRICS, Outputs, listed, names
from mopt_optimizer.errors import DataError
from mopt_optimizer.quality import Array

from .decoder import Decoder, ReadReference
from .fetching import SUFFIXES, hold_arrays
from .messages import ReferenceFiles
from .places import open_place


@dataclass(frozen=True)
class Reference:
    """What the model's outputs should be for one sample.

    Attributes:
        name: What errors call it.
        outputs: In the model's order.
    """

    name: str
    outputs: list[Array]


@dataclass(frozen=True)
class References:
    """Ground truth in the samples' order; one file at a time is in memory.

    Attributes:
        names: The objects' uris.
        arrays: Reads one, see Decoder.
        digest: sha256:HEX over names, contents and the transform.
    """

    names: Sequence[str]
    arrays: ReadReference
    digest: str

    def read(self, index: int) -> Reference:
        """Return a sample's ground truth.

        Raises:
            DataError: A file that cannot be used.
        """
        return Reference(self.names[index], self.arrays(index))


def load_references(
    references: PlannedReferences,
    credentials: Credentials,
    data: PlannedData,
    samples: Sequence[str],
    workdir: Path,
    environ: Mapping[str, str],
    decoder: Decoder,
) -> References:
    """Fetch the ground truth of samples and read each file once.

    Args:
        data: The samples' folder.
        samples: Names of those that are used, as keys relative to it.
        workdir: Gets the files, in a folder of their own. An archive that lies there already is
            not fetched again.

    Raises:
        DataError: A sample without a reference, a reference without a sample, or a file that
            cannot be used; names it.
        SpecError: Images and arrays in one folder, or a transform of images for arrays.
        StoreError, DiskError.
    """
    place = open_place(references, credentials, environ, workdir, decoder)
    if not place.names:
        raise DataError(
            f"no references under {place.where}: {place.others} objects, none of them "
            f"{', '.join(SUFFIXES)}"
        )
    arrays = hold_arrays(references.uri, place.names, references.images)
    chosen = paired(
        samples,
        open_place(data, credentials, environ, workdir, decoder).names,
        place.names,
        folder=references.uri,
        samples_folder=data.uri,
    )
    fetched = place.fetch(chosen, workdir / "references")
    transform = None if arrays else references.images
    files = ReferenceFiles(
        names=[place.uri(name) for name in fetched.names],
        files=[str(file) for file in fetched.files],
        images=transform,
    )
    return References(
        names=files.names,
        arrays=decoder.references(files),
        digest=fetched.digest(transform and transform.to_api()),
    )


def _stem(name: str) -> str:
    return PurePosixPath(name).with_suffix("").as_posix()


def paired(
    samples: Sequence[str],
    everything: Sequence[str],
    references: Sequence[str],
    *,
    folder: str,
    samples_folder: str,
) -> list[str]:
    """Return each sample's reference: the one of the same name but for the suffix.

    Args:
        samples: Those that are used.
        everything: All in the samples' folder, the used ones too: the others may have references.
        folder, samples_folder: What errors call the two folders.

    Raises:
        DataError: Two files of one name, a sample without a reference, or a reference without a
            sample.
    """
    by_stem = _by_stem(references, folder)
    stems = _by_stem(everything, samples_folder)
    if missing := [name for name in samples if _stem(name) not in by_stem]:
        raise DataError(
            f"{len(missing)} of {len(samples)} samples under {samples_folder} have no reference, "
            f"first {missing[0]}: there is no {_stem(missing[0])}.* under {folder}; upload it or "
            "remove the sample"
        )
    if stray := [name for stem, name in by_stem.items() if stem not in stems]:
        raise DataError(
            f"{len(stray)} of {len(references)} references under {folder} have no sample, first "
            f"{stray[0]}: there is no {_stem(stray[0])}.* under {samples_folder}; rename or "
            "remove it"
        )
    return [by_stem[_stem(name)] for name in samples]


def _by_stem(names: Sequence[str], folder: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        if (other := found.setdefault(_stem(name), name)) != name:
            raise DataError(
                f"{other} and {name} under {folder} differ in the suffix only: which sample has "
                "which reference is not known; rename or remove one"
            )
    return found


def check_reference(
    reference: Reference, outputs: Sequence[Array], metrics: Collection[QualityMetric]
) -> None:
    """Check that ground truth can be compared with a model's outputs.

    Args:
        outputs: The model's for the same sample.
        metrics: What is to be computed.

    Raises:
        DataError: Another number or shape of arrays, or labels outside the classes.
    """
    name, found = reference.name, reference.outputs
    if len(found) != len(outputs):
        raise DataError(
            f"reference {name} holds {len(found)} arrays, the model has {len(outputs)} outputs; "
            "save one array per output, in the model's order, in one .npz"
        )
    counts_vary = bool(metrics) and all(METRICS[metric].counts_vary for metric in metrics)
    for index, (truth, output) in enumerate(zip(found, outputs, strict=True)):
        if truth.shape == output.shape or counts_vary:
            continue
        where = f"reference {name} is {truth.shape}, the model's output {index} {output.shape}"
        if truth.dtype.kind not in "iu" or truth.shape != output.shape[:-1]:
            labels = f", or labels of shape {output.shape[:-1]}" if output.ndim > 1 else ""
            raise DataError(f"{where}; give values of the output's shape{labels}")
        of_classes = names(outputs=Outputs.CLASSES) + names(outputs=Outputs.SEQUENCES)
        if others := [m for m in metrics if m not in of_classes]:
            raise DataError(
                f"{where}: labels serve {listed(of_classes)} only, not {', '.join(others)}; give "
                "scores of the output's shape, or leave those gates out"
            )
        classes = output.shape[-1]
        if truth.min() < 0 or truth.max() >= classes:
            raise DataError(
                f"reference {name} has labels from {truth.min()} to {truth.max()}; the model has "
                f"{classes} classes, from 0 on"
            )
