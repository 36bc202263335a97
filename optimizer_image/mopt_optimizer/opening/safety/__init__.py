"""What is refused before torch opens a .pt2: torch.export.load by itself runs code from the file.

Ways found in torch 2.10 to 2.15, and what closes each:

- pickles (pickled weights and constants, custom and opaque objects, legacy .pt records, sample
  inputs): archive.py refuses all but plain sample inputs, and those never reach torch;
- AOTInductor libraries: archive.py knows no record for them;
- expressions that sympy evaluates (sizes, ranges) or torch executes (guards): expressions.py;
- operators that torch resolves by getattr from the module torch: operators.py has a list of those
  that a model may use;
- names that torch.fx pastes into the Python code it generates and executes: program.py;
- tree specs that import modules: trees.py;
- two zip readers that disagree: torch gets an archive that was written anew from what was checked.
"""

from .archive import rewrite_pt2
from .protobuf import check_messages
from .tarball import is_tar, unpack_onnx
from .torchscript import rewrite_torchscript
from .zips import zip_errors

__all__ = [
    "check_messages",
    "is_tar",
    "rewrite_pt2",
    "rewrite_torchscript",
    "unpack_onnx",
    "zip_errors",
]
