"""Labels and annotations that the administrator writes. Pure."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from mopt_api.base import GROUP

LabelKey = Annotated[
    str,
    Field(
        pattern=r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?"
        r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
    ),
]
LabelValue = Annotated[str, Field(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$")]

# The operator's, the Job controller's, Kueue's (on Pods it would count them a second time), and
# what lifts AppArmor from a container.
_OTHERS_PREFIXES = (
    f"{GROUP}/",
    "batch.kubernetes.io/",
    "kueue.x-k8s.io/",
    "container.apparmor.security.beta.kubernetes.io/",
)
_OTHERS = frozenset({"app.kubernetes.io/managed-by", "controller-uid", "job-name"})


def _refuse_others(given: dict[str, str]) -> dict[str, str]:
    for key in given:
        if key in _OTHERS or key.startswith(_OTHERS_PREFIXES):
            raise ValueError(f"{key} is not to be set on the Pods of Jobs")
    return given


PodLabels = Annotated[
    dict[LabelKey, LabelValue], Field(max_length=32), AfterValidator(_refuse_others)
]
PodAnnotations = Annotated[
    dict[LabelKey, Annotated[str, Field(max_length=4096)]],
    Field(max_length=32),
    AfterValidator(_refuse_others),
]
