"""What the operator takes for loaded by a layout's servers, the layout does not refuse."""

from __future__ import annotations

import pytest
from served_forms import ARTIFACT, SIGNATURE, result

from mopt_api.artifacts import ArtifactFormat
from mopt_api.enums import Runtime
from mopt_api.publishing import PublishLayout, is_loaded
from mopt_optimizer.errors import UnservableForm
from mopt_optimizer.serving import Signature, served_form, tree_of
from mopt_optimizer.stages.publish.forms import LAYOUTS

_ENGINE = {"backend": "tensorrt", "tensorrt_version": "10.13.3", "version_compatible": True}
_OPENED_BY = {
    ArtifactFormat.ONNX: (Runtime.ONNX_RUNTIME, Runtime.OPENVINO),
    ArtifactFormat.EXPORTED_PROGRAM: (Runtime.PYTORCH,),
    ArtifactFormat.TORCH_SCRIPT: (Runtime.PYTORCH,),
    ArtifactFormat.TENSORRT_ENGINE: (Runtime.TENSORRT,),
}


def _is_refused(runtime: Runtime, kind: ArtifactFormat, layout: PublishLayout) -> bool:
    artifact = ARTIFACT.model_copy(update={"format": kind})
    found = SIGNATURE.model_dump()
    if kind is ArtifactFormat.TENSORRT_ENGINE:
        found["engine"] = _ENGINE
    measured = result(runtime, artifact=artifact)
    form = served_form(measured, None, Signature.model_validate(found), name="net")
    try:
        tree_of(LAYOUTS[layout], form)
    except UnservableForm:
        return True
    return False


def test_every_format_is_here() -> None:
    assert set(_OPENED_BY) == set(ArtifactFormat)


@pytest.mark.parametrize("layout", PublishLayout)
@pytest.mark.parametrize(
    ("kind", "runtime"), [(kind, runtime) for kind, of in _OPENED_BY.items() for runtime in of]
)
def test_what_is_loaded_is_not_refused(
    layout: PublishLayout, kind: ArtifactFormat, runtime: Runtime
) -> None:
    assert _is_refused(runtime, kind, layout) is not is_loaded(kind, layout)
