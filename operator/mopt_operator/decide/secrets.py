"""Whose keys of which stores a Job gets. Pure."""

from __future__ import annotations

from mopt_api.jobs.plan import Credentials, Stage
from mopt_api.spec import ModelOptimizationSpec, Output
from mopt_api.stores import takes_credentials


def stage_secrets(
    spec: ModelOptimizationSpec, output: Output, stage: Stage
) -> dict[Credentials, str]:
    """Return the Secret of each role that a stage needs; the output's is the default."""
    fallback = output.credentials_secret_ref
    if stage is Stage.REPORT:
        return {Credentials.OUTPUT: fallback.name} if fallback else {}
    named = {}
    if takes_credentials(spec.model.uri):
        named[Credentials.MODEL] = spec.model.credentials_secret_ref
    # Without calibration data preparing tries the model on that of evaluation.
    data, role = (
        (spec.data.calibration, Credentials.CALIBRATION)
        if stage is Stage.PREPARE and spec.data.calibration is not None
        else (spec.data.evaluation, Credentials.EVALUATION)
    )
    if data is not None:
        named[role] = data.credentials_secret_ref
    named[Credentials.OUTPUT] = fallback
    return {role: chosen.name for role, ref in named.items() if (chosen := ref or fallback)}
