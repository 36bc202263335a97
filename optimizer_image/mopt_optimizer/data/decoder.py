"""What reads data files, which are not trusted. Loads nothing that decodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mopt_api.jobs.data_statistics import DataStatistics
from mopt_optimizer.quality.comparable import Array

from .messages import Members, ReferenceFiles, SampleFiles
from .samples import Inputs, Patches

ReadReference = Callable[[int], list[Array]]
"""From a sample's index to its ground truth: the model's outputs as they should be."""


@dataclass(frozen=True)
class DecodedSamples:
    """Samples that were read once, each of them.

    Attributes:
        inputs: Read again at each access.
        patches: Pieces of the images, by input.
    """

    inputs: Sequence[Inputs]
    statistics: DataStatistics
    patches: Patches


class Decoder(Protocol):
    """Reads data files: in this process (LocalDecoder), or in one of its own (DecodingProcess)."""

    def samples(self, files: SampleFiles) -> DecodedSamples:
        """Read every sample once, so that a damaged one is found before anything is built.

        Raises:
            SpecError: Images for a model with several inputs or one that is not float32.
            DataError: A file that cannot be used; the message names it.
            DimensionError: A size outside what the spec declares.
        """
        ...

    def references(self, files: ReferenceFiles) -> ReadReference:
        """Read every file of ground truth once; return what reads one again.

        Raises:
            DataError: A damaged file, one without a value, or NaN or infinity in it.
        """
        ...

    def members(self, archive: Path) -> Members:
        """Return what an archive holds.

        Raises:
            DataError: Damaged, too large, or with data that is no plain file.
        """
        ...

    def unpack(self, archive: Path, names: Sequence[str], files: Sequence[Path]) -> None:
        """Write members of an archive to files, all of them or none.

        Args:
            names: As members has them.
            files: One for each name, on the volume of the archive.

        Raises:
            DataError: A damaged member.
            DiskError: No space left.
        """
        ...
