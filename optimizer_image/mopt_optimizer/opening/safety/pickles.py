"""Pickles, looked at without being run."""

from __future__ import annotations

import io
import pickletools
import re
import zipfile

from mopt_optimizer.errors import ModelError, UnsafeModelError

from ..limits import MAX_PICKLE_STEPS

_PLAIN_GLOBALS = re.compile(
    r"collections OrderedDict"
    r"|torch (?:[A-Z][A-Za-z0-9]{2,20}Storage|Tensor|Size|device)"
    r"|torch (?:b?float|u?int|complex)[0-9]{1,3}|torch bool"
    r"|torch\._tensor _rebuild_from_type_v2"
    r"|torch\._utils _rebuild_(?:tensor_v2|parameter|parameter_with_state)"
    r"|torch\.nn\.parameter Parameter"
    r"|torch\.storage (?:UntypedStorage|TypedStorage)"
)
# Each can name any object of any module; protocol 2, which torch.save writes, needs GLOBAL only.
_REFUSED_OPCODES = {"STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4"}
_MEMO = {"PUT", "BINPUT", "LONG_BINPUT", "GET", "BINGET", "LONG_BINGET"}
_RECORD = re.compile(
    r"[^/]+/(?:data\.pkl|byteorder|version|data/[0-9]+|\.data/serialization_id"
    r"|\.format_version|\.storage_alignment|\.data/version)"
)


def check_torch_save(data: bytes, where: str) -> None:
    """Check what torch.save wrote: tensors in tuples, lists and dicts.

    Raises:
        UnsafeModelError: Its pickle names anything but what tensors are rebuilt with.
        ModelError: It is not such a file.
    """
    if not data:
        return  # a program saved without sample inputs
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            for name in names:
                if not _RECORD.fullmatch(name):
                    raise UnsafeModelError(f"{where} holds the unknown record {name[:80]!r}")
            pickles = [archive.read(name) for name in names if name.endswith("/data.pkl")]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        # A bare pickle would be read by torch's legacy loader.
        raise UnsafeModelError(f"{where} is not a zip that torch.save wrote: {error}") from error
    if len(pickles) != 1:
        raise ModelError(f"{where} holds {len(pickles)} pickles instead of one")
    check_pickle(pickles[0], where)


def check_pickle(data: bytes, where: str, *, also: re.Pattern[str] | None = None) -> None:
    """Check one pickle's opcodes without running them.

    Args:
        also: More globals, written "module name", that its reader takes without importing.

    Raises:
        UnsafeModelError: It names anything but what tensors are rebuilt with.
        ModelError: It has far more steps or numbers for them than a model needs.
    """
    try:
        for step, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            # A reader makes a table as long as the largest number says.
            if step >= MAX_PICKLE_STEPS or (opcode.name in _MEMO and int(argument or 0) > step):
                raise ModelError(f"{where} has a pickle of too many steps, or numbers them wrongly")
            if opcode.name in _REFUSED_OPCODES or (
                opcode.name == "GLOBAL"
                and not _PLAIN_GLOBALS.fullmatch(str(argument))
                and not (also and also.fullmatch(str(argument)))
            ):
                named = argument if opcode.name == "GLOBAL" else opcode.name
                raise UnsafeModelError(f"{where} has a pickle that would load {named!r}")
    except (ValueError, EOFError, IndexError) as error:
        raise UnsafeModelError(f"{where} has a damaged pickle: {error}") from error
