"""The environment of a child: what its libraries need, by name; everything else stays here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

# What Python and the system's libraries read, and where programs and our extensions are found.
_NAMES = frozenset(
    {
        *("PATH", "LANG", "LANGUAGE", "TZ", "USER", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "LD_PRELOAD"),
        *("PYTHONPATH", "PYTHONHOME", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"),
        *("PYTHONHASHSEED", "PYTHONPYCACHEPREFIX", "PYTHONFAULTHANDLER", "PYTHONWARNINGS"),
        *("CC", "CXX", "TERM", "NO_COLOR", "MOPT_EXTENSIONS", "MOPT_MAX_INLINE_BYTES"),
    }
)
# Settings of numerical libraries and runtimes.
_FAMILIES = re.compile(
    r"(LC|OMP|KMP|GOMP|MKL|DNNL|ONEDNN|OPENBLAS|TBB|ATEN|MALLOC|GLIBC|ORT|OV|OPENVINO|NNCF"
    r"|TORCH|TORCHINDUCTOR|TORCHAO|PYTORCH|TRITON|CUDA|CUDNN|CUBLAS|NVIDIA|NV|TRT|TENSORRT)_\w*"
)
# Where they write.
_FOLDERS = ("HOME", "TMPDIR", "XDG_CACHE_HOME", "TORCH_HOME", "TORCHINDUCTOR_CACHE_DIR")
_SECRET = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|_KEY", re.IGNORECASE)


def child_environ(environ: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return the environment of a child, which has neither credentials nor the plan.

    ONNX Runtime's official builds send telemetry unless it is switched off.

    Args:
        folder: The child's own: its home, and where its temporary files go.
    """
    kept = {name: value for name, value in environ.items() if is_passed_on(name)}
    own = dict.fromkeys(_FOLDERS, str(folder))
    return {"ORT_DISABLE_TELEMETRY": "1"} | kept | own


def is_passed_on(name: str) -> bool:
    """Return whether children get a variable of that name."""
    known = name in _NAMES or _FAMILIES.fullmatch(name) is not None
    return known and _SECRET.search(name) is None
