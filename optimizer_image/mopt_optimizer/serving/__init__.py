"""What servers load: a measured form with its signature and options, as the files of each server.

form.py says what is served, from a result.json and the signature of the file; layouts/ says which
files a server loads it from. Both are pure and load no library that opens models; what reads a
file's signature (reading.py) does that in an enclosed child process.
"""

from __future__ import annotations

from .form import (
    MeasuredOptions,
    ServedForm,
    ServedTensor,
    declared_signature,
    served_form,
    served_variant,
)
from .layouts import LAYOUTS, Layout, Tree, digests, tree_of
from .reading import SignatureRequest, read_signature, signature_request
from .signature import Signature, TensorSignature

__all__ = [
    "LAYOUTS",
    "Layout",
    "MeasuredOptions",
    "ServedForm",
    "ServedTensor",
    "Signature",
    "SignatureRequest",
    "TensorSignature",
    "Tree",
    "declared_signature",
    "digests",
    "read_signature",
    "served_form",
    "served_variant",
    "signature_request",
    "tree_of",
]
